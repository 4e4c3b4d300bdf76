//! Web Push as it is set.

use crate::{
    config::Settings,
    lifecycle::Lifecycle,
    live::presence::Presence,
    model::clock::Clock,
    push::{Reach, Sender, VapidKey},
    service::push::{Parts, Pushes},
    store::Store,
};

/// Pushes to whom presence does not find, with the key that all nodes share.
///
/// # Errors
/// When the store fails, its key cannot be read or no client can be made.
pub(super) async fn open(
    settings: &Settings,
    (store, presence): (&Store, &Presence),
    clock: Clock,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Pushes> {
    let mut sender = None;
    if settings.web_push {
        let kept = store.push_key(&VapidKey::generate()?, clock.now()).await?;
        let subject = settings.push_subject.as_ref().map(ToString::to_string);
        let reach = Reach::new(settings.push_private_hosts.clone());
        sender = Some(Sender::new(VapidKey::read(&kept, subject, clock)?, reach)?);
    }
    let (store, presence, lifecycle) = (store.clone(), presence.clone(), lifecycle.clone());
    Ok(Pushes::new(Parts { store, presence, sender, clock, lifecycle }))
}
