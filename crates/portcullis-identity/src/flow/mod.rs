//! What can be done with an account, one file each.

pub(crate) mod account;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod manage;
pub(crate) mod operate;
pub(crate) mod refresh;
pub(crate) mod register;
pub(crate) mod tidy;
pub(crate) mod verify;
