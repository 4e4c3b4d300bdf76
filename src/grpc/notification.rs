//! `NotificationService`, and notifications as the contract writes them.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{
    edge::Called as _,
    json::{proto_value, value_of},
    parse,
};
use crate::{
    error::Result,
    model::{
        notification::{DEFAULT_TYPE, NewNotification, Notification, NotificationFilter, Related},
        push::PushSubscription,
    },
    proto::{
        self, CountUnreadNotificationsRequest, CountUnreadNotificationsResponse, CreateNotificationRequest,
        CreateNotificationResponse, DeleteNotificationRequest, DeleteNotificationResponse,
        DeletePushSubscriptionRequest, DeletePushSubscriptionResponse, GetPushKeyRequest, GetPushKeyResponse,
        ListNotificationsRequest, ListNotificationsResponse, MarkAllNotificationsReadRequest,
        MarkAllNotificationsReadResponse, MarkNotificationReadRequest, MarkNotificationReadResponse,
        RegisterPushSubscriptionRequest, RegisterPushSubscriptionResponse, WatchNotificationsRequest,
        WatchNotificationsResponse, notification_event::Event, notification_service_server::NotificationService,
    },
    service::push::{NewBrowser, Pushes},
    session::{
        notices::{self, Watched},
        sessions::Sessions,
    },
};

/// Serves notifications.
#[derive(Clone)]
pub struct NotificationApi {
    sessions: Sessions,
    pushes: Pushes,
}

impl NotificationApi {
    /// Serves what these sessions know, and browsers that want pushes.
    pub fn new(sessions: Sessions, pushes: Pushes) -> Self {
        Self { sessions, pushes }
    }
}

#[tonic::async_trait]
impl NotificationService for NotificationApi {
    async fn create_notification(
        &self,
        request: Request<CreateNotificationRequest>,
    ) -> Result<Response<CreateNotificationResponse>, Status> {
        let caller = request.caller()?;
        let new = new_notification(request.into_inner())?;
        let notification = self.sessions.notifications.create(&caller, new).await?;
        Ok(Response::new(CreateNotificationResponse { notification: Some(notification.into()) }))
    }

    async fn list_notifications(
        &self,
        request: Request<ListNotificationsRequest>,
    ) -> Result<Response<ListNotificationsResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let page = parse::numbered_page(request.page, request.page_size, &request.page_token)?;
        let filter = NotificationFilter {
            is_unread: request.unread_only,
            notification_type: Some(request.notification_type).filter(|name| !name.is_empty()),
        };
        let listed = self.sessions.notifications.list(&caller, &filter, &page).await?;
        Ok(Response::new(ListNotificationsResponse {
            next_page_token: parse::next_page_token(listed.page.next.as_deref()),
            notifications: listed.page.entries.into_iter().map(Into::into).collect(),
            total: listed.total,
            unread_count: listed.unread,
            page: page.number.map(u32::cast_signed).unwrap_or_default(),
            page_size: page.request.size.into(),
        }))
    }

    async fn mark_notification_read(
        &self,
        request: Request<MarkNotificationReadRequest>,
    ) -> Result<Response<MarkNotificationReadResponse>, Status> {
        let caller = request.caller()?;
        let id = parse::id("notification_id", &request.get_ref().notification_id)?;
        let notification = self.sessions.notifications.read(&caller, id).await?;
        Ok(Response::new(MarkNotificationReadResponse { notification: Some(notification.into()) }))
    }

    async fn mark_all_notifications_read(
        &self,
        request: Request<MarkAllNotificationsReadRequest>,
    ) -> Result<Response<MarkAllNotificationsReadResponse>, Status> {
        let marked = self.sessions.notifications.read_all(&request.caller()?).await?;
        Ok(Response::new(MarkAllNotificationsReadResponse { marked: marked as i64 }))
    }

    async fn delete_notification(
        &self,
        request: Request<DeleteNotificationRequest>,
    ) -> Result<Response<DeleteNotificationResponse>, Status> {
        let caller = request.caller()?;
        let id = parse::id("notification_id", &request.get_ref().notification_id)?;
        self.sessions.notifications.delete(&caller, id).await?;
        Ok(Response::new(DeleteNotificationResponse {}))
    }

    async fn count_unread_notifications(
        &self,
        request: Request<CountUnreadNotificationsRequest>,
    ) -> Result<Response<CountUnreadNotificationsResponse>, Status> {
        let count = self.sessions.notifications.unread(&request.caller()?).await?;
        Ok(Response::new(CountUnreadNotificationsResponse { count }))
    }

    type WatchNotificationsStream = Pin<Box<dyn Stream<Item = Result<WatchNotificationsResponse, Status>> + Send>>;

    async fn watch_notifications(
        &self,
        request: Request<WatchNotificationsRequest>,
    ) -> Result<Response<Self::WatchNotificationsStream>, Status> {
        let steps = notices::watch(self.sessions.clone(), request.caller()?).enumerate();
        let responses = steps.map(|(number, step)| {
            let event = match step? {
                Watched::Begun(unread_count) => Event::Watching(proto::NotificationWatch { unread_count }),
                Watched::Notification(notification) => Event::Notification((*notification).into()),
            };
            let offset = i64::try_from(number + 1).unwrap_or(i64::MAX);
            let event = Some(proto::NotificationEvent { offset, event: Some(event) });
            Ok(WatchNotificationsResponse { event })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn get_push_key(&self, request: Request<GetPushKeyRequest>) -> Result<Response<GetPushKeyResponse>, Status> {
        request.caller()?;
        let application_server_key = self.pushes.key()?.to_owned();
        Ok(Response::new(GetPushKeyResponse { application_server_key }))
    }

    async fn register_push_subscription(
        &self,
        request: Request<RegisterPushSubscriptionRequest>,
    ) -> Result<Response<RegisterPushSubscriptionResponse>, Status> {
        let caller = request.caller()?;
        let request = request.into_inner();
        let keys = request.keys.unwrap_or_default();
        let expires_at = parse::optional_millis("expiration_time", request.expiration_time)?;
        let new = NewBrowser { endpoint: request.endpoint, p256dh: keys.p256dh, auth: keys.auth, expires_at };
        let push_subscription = Some(self.pushes.register(&caller, new).await?.into());
        Ok(Response::new(RegisterPushSubscriptionResponse { push_subscription }))
    }

    async fn delete_push_subscription(
        &self,
        request: Request<DeletePushSubscriptionRequest>,
    ) -> Result<Response<DeletePushSubscriptionResponse>, Status> {
        let caller = request.caller()?;
        self.pushes.delete(&caller, &request.get_ref().endpoint).await?;
        Ok(Response::new(DeletePushSubscriptionResponse {}))
    }
}

fn new_notification(request: CreateNotificationRequest) -> Result<NewNotification> {
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    let notification_type = present(Some(request.notification_type)).unwrap_or_else(|| DEFAULT_TYPE.to_owned());
    Ok(NewNotification {
        user_id: parse::id("user_id", &request.user_id)?,
        title: request.title,
        content: request.content,
        notification_type,
        action: request.action.map(value_of).filter(|action| !action.is_null()),
        related: Related {
            entity_type: present(request.related_entity_type),
            entity_id: present(request.related_entity_id),
        },
        idempotency_key: present(request.idempotency_key),
    })
}

impl From<PushSubscription> for proto::PushSubscription {
    fn from(subscription: PushSubscription) -> Self {
        Self {
            endpoint: subscription.endpoint,
            created_at: Some(subscription.created_at.into()),
            expires_at: subscription.expires_at.map(Into::into),
        }
    }
}

impl From<Notification> for proto::Notification {
    fn from(notification: Notification) -> Self {
        Self {
            id: notification.id.to_string(),
            user_id: notification.user_id.to_string(),
            title: notification.title,
            content: notification.content,
            notification_type: notification.notification_type,
            action: notification.action.map(proto_value),
            related_entity_type: notification.related.entity_type,
            related_entity_id: notification.related.entity_id,
            is_read: notification.read_at.is_some(),
            read_at: notification.read_at.map(Into::into),
            created_at: Some(notification.created_at.into()),
            updated_at: Some(notification.updated_at.into()),
        }
    }
}
