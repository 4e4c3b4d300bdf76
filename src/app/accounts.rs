//! Accounts as they are set: sign-in, tokens, the first admin.

use crate::{
    config::{SettingError, Settings},
    error::Error,
    live::throttle::ThrottleLimits,
    model::user::NewUser,
    service::tokens::TokenPolicy,
};

/// How often somebody may fail to sign in.
pub(super) fn throttle(settings: &Settings) -> ThrottleLimits {
    ThrottleLimits {
        per_account: settings.sign_in_failures_per_account,
        per_address: settings.sign_in_failures_per_address,
        window: settings.sign_in_window,
    }
}

/// How access tokens are made.
pub(super) fn tokens(settings: &Settings) -> TokenPolicy {
    TokenPolicy {
        algorithm: settings.jwt_algorithm,
        issuer: settings.jwt_issuer.clone(),
        token_ttl: settings.access_token_ttl,
        key_ttl: settings.signing_key_ttl,
    }
}

/// The account that is there from the start, if one is set.
///
/// # Errors
/// When it is set in part.
pub(super) fn first_admin(settings: &Settings) -> anyhow::Result<Option<NewUser>> {
    match (&settings.admin_username, &settings.admin_email, &settings.admin_password) {
        (None, None, None) => Ok(None),
        (Some(username), Some(email), Some(password)) => Ok(Some(NewUser {
            username: username.clone(),
            email: email.clone(),
            password: password.reveal().to_owned(),
        })),
        _ => Err(SettingError::new("admin_username", "goes together with admin_email and admin_password").into()),
    }
}

/// What was wrong with the account that is there from the start, as what is wrong with a setting where it is.
pub(super) fn first_admin_fault(error: Error) -> anyhow::Error {
    let wrong = |field: &str, wanted: &str| SettingError::new(&format!("admin_{field}"), wanted).into();
    match error {
        Error::Invalid(faults) if !faults.is_empty() => wrong(&faults[0].field, &faults[0].description),
        Error::AlreadyExists(field) => wrong(field, "is another account's"),
        error => error.into(),
    }
}
