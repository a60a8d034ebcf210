//! The demo: a sample API, three accounts, a mail catcher and a tour.
//!
//! What belongs to the demo alone is here; the gateway it shows is the ordinary one, started with [`CONFIG`]. The order
//! is: lock [`STATE_DIR`], read or make the [`Accounts`], start the [`upstream`], start the gateway and the admin
//! listener, create the accounts, print [`Tour::banner`].

mod accounts;
pub mod run;
mod tour;
pub mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use accounts::{Account, Accounts, AccountsError};
pub use tour::{Step, Tour};

/// The configuration that the demo's gateway runs with, as a file would say it.
pub const CONFIG: &str = include_str!("portcullis.toml");

/// Where the demo keeps its state, in the directory it is started in.
pub const STATE_DIR: &str = ".portcullis-demo";

/// Where the gateway listens in the demo.
pub const GATEWAY: SocketAddr = loopback(8080);

/// Where the admin listener is in the demo.
pub const ADMIN: SocketAddr = loopback(9090);

/// Where the sample API is in the demo.
pub const UPSTREAM: SocketAddr = loopback(8081);

/// Where the sample API is when it runs alone (`demo --upstream-only`), unless somewhere else is asked for: the address
/// that the examples of `portcullis serve --upstream` name.
pub const UPSTREAM_ALONE: SocketAddr = loopback(3000);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_says_what_the_demo_expects() {
        let config: toml::Table = CONFIG.parse().unwrap();
        assert_eq!(config["listen"].as_str(), Some(GATEWAY.to_string().as_str()));
        assert_eq!(config["upstream"].as_str(), Some(format!("http://{UPSTREAM}").as_str()));
        assert_eq!(config["state_dir"].as_str(), Some(STATE_DIR));
        assert_eq!(config["admin"]["listen"].as_str(), Some(ADMIN.to_string().as_str()));
    }
}
