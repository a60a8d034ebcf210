//! What can be done with an account, one file each.

pub(crate) mod account;
pub(crate) mod api_key;
pub(crate) mod attempt;
pub(crate) mod claims;
pub(crate) mod everybody;
pub(crate) mod link;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod manage;
pub(crate) mod operate;
pub(crate) mod owner;
pub(crate) mod password;
pub(crate) mod refresh;
pub(crate) mod register;
pub(crate) mod revoke_token;
pub(crate) mod server_session;
pub(crate) mod sessions;
pub(crate) mod tidy;
pub(crate) mod unlock;
pub(crate) mod verify;
pub(crate) mod whose;
