//! `ConversationService`.

mod convert;

use tonic::{Request, Response, Status};

use super::{edge::Called as _, parse};
use crate::{
    model::ids::ConversationId,
    proto::{
        AddContextRequest, AddContextResponse, AddMemberRequest, AddMemberResponse, CreateConversationRequest,
        CreateConversationResponse, DeleteContextRequest, DeleteContextResponse, DeleteConversationRequest,
        DeleteConversationResponse, DeleteMessageRequest, DeleteMessageResponse, EditMessageRequest,
        EditMessageResponse, ExportConversationRequest, ExportConversationResponse, GetConversationRequest,
        GetConversationResponse, GetMessageRequest, GetMessageResponse, ListContextsRequest, ListContextsResponse,
        ListConversationsRequest, ListConversationsResponse, ListMembersRequest, ListMembersResponse,
        ListMessagesRequest, ListMessagesResponse, MarkReadRequest, MarkReadResponse, RemoveMemberRequest,
        RemoveMemberResponse, SearchMessagesRequest, SearchMessagesResponse, UpdateConversationRequest,
        UpdateConversationResponse, conversation_service_server::ConversationService, google::api::HttpBody,
    },
    service::{
        contexts::Contexts,
        conversations::Conversations,
        export::Exports,
        history::Histories,
        members::Members,
        messages::{Messages, Sending},
    },
};

/// Serves conversations and what is in them.
#[derive(Clone)]
pub struct ConversationApi {
    conversations: Conversations,
    members: Members,
    contexts: Contexts,
    histories: Histories,
    exports: Exports,
    messages: Messages,
}

impl ConversationApi {
    /// Serves by these rules.
    pub fn new(
        conversations: Conversations,
        members: Members,
        contexts: Contexts,
        histories: Histories,
        exports: Exports,
        messages: Messages,
    ) -> Self {
        Self { conversations, members, contexts, histories, exports, messages }
    }
}

#[tonic::async_trait]
impl ConversationService for ConversationApi {
    async fn create_conversation(
        &self,
        request: Request<CreateConversationRequest>,
    ) -> Result<Response<CreateConversationResponse>, Status> {
        let caller = request.caller()?;
        let new = convert::new_conversation(request.into_inner())?;
        let conversation = self.conversations.create(&caller, new).await?;
        Ok(Response::new(CreateConversationResponse { conversation: Some(conversation.into()) }))
    }

    async fn get_conversation(
        &self,
        request: Request<GetConversationRequest>,
    ) -> Result<Response<GetConversationResponse>, Status> {
        let caller = request.caller()?;
        let id = conversation_id(&request.get_ref().conversation_id)?;
        let conversation = self.conversations.get(&caller, id).await?;
        Ok(Response::new(GetConversationResponse { conversation: Some(conversation.into()) }))
    }

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let caller = request.caller()?;
        let ListConversationsRequest { page_size, page_token } = request.into_inner();
        let page = self.conversations.list(&caller, &parse::page(page_size, &page_token)?).await?;
        Ok(Response::new(ListConversationsResponse {
            next_page_token: parse::next_page_token(page.next.as_deref()),
            conversations: page.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn update_conversation(
        &self,
        request: Request<UpdateConversationRequest>,
    ) -> Result<Response<UpdateConversationResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let conversation = self.conversations.update(&caller, id, &convert::change(request)?).await?;
        Ok(Response::new(UpdateConversationResponse { conversation: Some(conversation.into()) }))
    }

    async fn delete_conversation(
        &self,
        request: Request<DeleteConversationRequest>,
    ) -> Result<Response<DeleteConversationResponse>, Status> {
        let caller = request.caller()?;
        let id = conversation_id(&request.get_ref().conversation_id)?;
        self.conversations.delete(&caller, id).await?;
        Ok(Response::new(DeleteConversationResponse {}))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let page = self.members.list(&caller, id, &parse::page(request.page_size, &request.page_token)?).await?;
        Ok(Response::new(ListMembersResponse {
            next_page_token: parse::next_page_token(page.next.as_deref()),
            members: page.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn add_member(&self, request: Request<AddMemberRequest>) -> Result<Response<AddMemberResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let user = parse::id("user_id", &request.user_id)?;
        let member = self.members.add(&caller, id, user, convert::role(request.role)?).await?;
        Ok(Response::new(AddMemberResponse { member: Some(member.into()) }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        self.members.remove(&caller, id, parse::id("user_id", &request.user_id)?).await?;
        Ok(Response::new(RemoveMemberResponse {}))
    }

    async fn add_context(&self, request: Request<AddContextRequest>) -> Result<Response<AddContextResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let context = self.contexts.add(&caller, id, request.title, request.content).await?;
        Ok(Response::new(AddContextResponse { context: Some(context.into()) }))
    }

    async fn list_contexts(
        &self,
        request: Request<ListContextsRequest>,
    ) -> Result<Response<ListContextsResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let page = self.contexts.list(&caller, id, &parse::page(request.page_size, &request.page_token)?).await?;
        Ok(Response::new(ListContextsResponse {
            next_page_token: parse::next_page_token(page.next.as_deref()),
            contexts: page.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn delete_context(
        &self,
        request: Request<DeleteContextRequest>,
    ) -> Result<Response<DeleteContextResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        self.contexts.delete(&caller, id, parse::id("context_id", &request.context_id)?).await?;
        Ok(Response::new(DeleteContextResponse {}))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let history = self.histories.list(&caller, id, &convert::history_request(&request)?).await?;
        Ok(Response::new(history.into()))
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let message = self.histories.get(&caller, id, parse::id("message_id", &request.message_id)?).await?;
        Ok(Response::new(GetMessageResponse { message: Some(message.into()) }))
    }

    async fn edit_message(
        &self,
        request: Request<EditMessageRequest>,
    ) -> Result<Response<EditMessageResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let message_id = parse::id("message_id", &request.message_id)?;
        let sending = Sending {
            content: request.content,
            client_message_id: request.client_message_id,
            reply: request.reply.unwrap_or(true),
            model: None,
        };
        let sent = self.messages.edit(&caller, id, message_id, sending).await?;
        let (message, reply) = (Some(sent.message.into()), sent.reply.map(Into::into));
        Ok(Response::new(EditMessageResponse { message, reply }))
    }

    async fn delete_message(
        &self,
        request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        self.histories.delete(&caller, id, parse::id("message_id", &request.message_id)?).await?;
        Ok(Response::new(DeleteMessageResponse {}))
    }

    async fn search_messages(
        &self,
        request: Request<SearchMessagesRequest>,
    ) -> Result<Response<SearchMessagesResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = parse::optional_id("conversation_id", Some(&request.conversation_id))?;
        let page = parse::page(request.page_size, &request.page_token)?;
        let found = self.histories.search(&caller, id, &request.query, &page).await?;
        Ok(Response::new(SearchMessagesResponse {
            next_page_token: parse::next_page_token(found.next.as_deref()),
            messages: found.entries.into_iter().map(Into::into).collect(),
        }))
    }

    async fn mark_read(&self, request: Request<MarkReadRequest>) -> Result<Response<MarkReadResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let seq = self.histories.mark_read(&caller, id, request.seq).await?;
        Ok(Response::new(MarkReadResponse { seq }))
    }

    async fn export_conversation(
        &self,
        request: Request<ExportConversationRequest>,
    ) -> Result<Response<ExportConversationResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let id = conversation_id(&request.conversation_id)?;
        let format = convert::format(request.format)?;
        let text = self.exports.export(&caller, id, format).await?;
        let file = HttpBody { content_type: format.content_type().to_owned(), data: text.into() };
        Ok(Response::new(ExportConversationResponse { file: Some(file) }))
    }
}

fn conversation_id(text: &str) -> crate::error::Result<ConversationId> {
    parse::id("conversation_id", text)
}
