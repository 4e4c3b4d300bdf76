//! The gateway: REST, Server-Sent Events and WebSocket over the contract.
