//! Web Push: encrypted texts to browsers, by way of the services that their vendors run (RFC 8030, 8291, 8292).

mod encryption;
mod payload;
mod reach;
mod sender;
mod vapid;

pub use self::{
    encryption::{browser_key, browser_secret},
    payload::payload,
    reach::Reach,
    sender::{Failure, Sender},
    vapid::VapidKey,
};
