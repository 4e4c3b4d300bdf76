//! The tables, for every database; `migrations/` makes them.

use diesel::{allow_tables_to_appear_in_same_query, joinable, table};

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    users (id) {
        id -> sql::Id,
        username -> Text,
        username_key -> Text,
        email -> Text,
        email_key -> Text,
        display_name -> Text,
        role -> Text,
        is_active -> Bool,
        password_hash -> Text,
        created_at -> sql::Instant,
        updated_at -> sql::Instant,
        last_seen_at -> Nullable<sql::Instant>,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    sessions (id) {
        id -> sql::Id,
        user_id -> sql::Id,
        user_agent -> Text,
        address -> Text,
        created_at -> sql::Instant,
        last_used_at -> sql::Instant,
        expires_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    refresh_tokens (hash) {
        hash -> Binary,
        session_id -> sql::Id,
        created_at -> sql::Instant,
        used_at -> Nullable<sql::Instant>,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    signing_keys (id) {
        id -> sql::Id,
        algorithm -> Text,
        private_key -> Binary,
        created_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    service_accounts (user_id) {
        user_id -> sql::Id,
        key_hash -> Binary,
        scopes -> Text,
        created_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    outside_users (issuer, subject) {
        issuer -> Text,
        subject -> Text,
        user_id -> sql::Id,
        created_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    conversations (id) {
        id -> sql::Id,
        title -> Text,
        model -> Nullable<Text>,
        on_busy -> Text,
        last_seq -> BigInt,
        head_message_id -> Nullable<sql::Id>,
        opened_by -> Nullable<sql::Id>,
        opening_client_message_id -> Nullable<Text>,
        created_at -> sql::Instant,
        updated_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    members (conversation_id, user_id) {
        conversation_id -> sql::Id,
        user_id -> sql::Id,
        role -> Text,
        last_read_seq -> BigInt,
        delivered_seq -> BigInt,
        joined_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    contexts (id) {
        id -> sql::Id,
        conversation_id -> sql::Id,
        title -> Text,
        content -> Text,
        position -> BigInt,
        created_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    messages (id) {
        id -> sql::Id,
        conversation_id -> sql::Id,
        seq -> BigInt,
        parent_id -> Nullable<sql::Id>,
        on_path -> Bool,
        role -> Text,
        author_id -> Nullable<sql::Id>,
        content -> Text,
        status -> Text,
        model -> Nullable<Text>,
        finish_reason -> Nullable<Text>,
        input_tokens -> Nullable<BigInt>,
        output_tokens -> Nullable<BigInt>,
        error_code -> Nullable<Text>,
        error_message -> Nullable<Text>,
        error_retryable -> Nullable<Bool>,
        client_message_id -> Nullable<Text>,
        is_deleted -> Bool,
        requested_by -> Nullable<sql::Id>,
        lease_owner -> Nullable<sql::Id>,
        lease_until -> Nullable<sql::Instant>,
        stop_requested -> Bool,
        created_at -> sql::Instant,
        updated_at -> sql::Instant,
        is_cached -> Bool,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    run_chunks (message_id, offset) {
        message_id -> sql::Id,
        offset -> BigInt,
        content -> Text,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    tool_calls (message_id, number) {
        message_id -> sql::Id,
        number -> BigInt,
        offset -> BigInt,
        call_id -> Text,
        name -> Text,
        arguments -> Text,
        result_number -> Nullable<BigInt>,
        content -> Nullable<Text>,
        is_error -> Nullable<Bool>,
        duration_ms -> Nullable<BigInt>,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    daily_usage (user_id, day, model) {
        user_id -> sql::Id,
        day -> Text,
        model -> Text,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        message_count -> BigInt,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    notifications (id) {
        id -> sql::Id,
        user_id -> sql::Id,
        title -> Text,
        content -> Text,
        notification_type -> Text,
        action -> Nullable<Text>,
        related_entity_type -> Nullable<Text>,
        related_entity_id -> Nullable<Text>,
        idempotency_key -> Nullable<Text>,
        delivered_at -> Nullable<sql::Instant>,
        read_at -> Nullable<sql::Instant>,
        created_at -> sql::Instant,
        updated_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    audit_log (id) {
        id -> sql::Id,
        created_at -> sql::Instant,
        admin_id -> sql::Id,
        action -> Text,
        target_kind -> Text,
        target_id -> Text,
        address -> Text,
        request_id -> Text,
        result -> Text,
        details -> Text,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    push_key (number) {
        number -> BigInt,
        private_key -> Binary,
        created_at -> sql::Instant,
    }
}

table! {
    use diesel::sql_types::*;
    use crate::store::types::sql;

    push_subscriptions (endpoint) {
        endpoint -> Text,
        user_id -> sql::Id,
        p256dh -> Binary,
        auth -> Binary,
        created_at -> sql::Instant,
        expires_at -> Nullable<sql::Instant>,
    }
}

joinable!(sessions -> users (user_id));
joinable!(refresh_tokens -> sessions (session_id));
joinable!(service_accounts -> users (user_id));
joinable!(outside_users -> users (user_id));
joinable!(push_subscriptions -> users (user_id));
joinable!(members -> users (user_id));
joinable!(members -> conversations (conversation_id));
joinable!(contexts -> conversations (conversation_id));
joinable!(messages -> conversations (conversation_id));
joinable!(run_chunks -> messages (message_id));
joinable!(tool_calls -> messages (message_id));
allow_tables_to_appear_in_same_query!(
    users,
    sessions,
    refresh_tokens,
    service_accounts,
    outside_users,
    conversations,
    members,
    contexts,
    messages,
    run_chunks,
    tool_calls,
    daily_usage,
    notifications,
    push_subscriptions,
    audit_log,
);
