//! The upstream behind every proxy: an nginx that answers as cheaply as one can.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::measure::{OTHER_CORE, pinned};
use crate::process::Process;

/// The size of the large answer, in bytes.
pub(crate) const LARGE: usize = 100 * 1024;

/// Starts it on the core that the proxies leave free.
pub(crate) fn start(listen: SocketAddr, directory: &Path) -> Result<Process, String> {
    let files = directory.join("files/api");
    let failed = |error: std::io::Error| format!("{}: {error}", files.display());
    fs::create_dir_all(&files).map_err(failed)?;
    fs::write(files.join("large"), "x".repeat(LARGE)).map_err(failed)?;
    let config = directory.join("upstream.conf");
    fs::write(&config, text(listen, directory)).map_err(|error| format!("{}: {error}", config.display()))?;
    let mut command = Command::new("nginx");
    command.arg("-e").arg(directory.join("upstream-errors.log")).arg("-c").arg(&config);
    let mut process = Process::start(pinned(&command, OTHER_CORE), &directory.join("upstream.log"))?;
    process.await_port(listen)?;
    Ok(process)
}

/// Keep-alive without an end, no log, about 200 bytes for everything but `/api/large`. `/api/seen` tells which identity
/// headers arrived.
fn text(listen: SocketAddr, directory: &Path) -> String {
    let place = directory.display();
    let body = "x".repeat(64);
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid {place}/upstream.pid;\n\
         error_log {place}/upstream-errors.log;\nevents {{ worker_connections 16384; }}\nhttp {{\n\
         access_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 1h;\nclient_max_body_size 0;\n\
         client_body_temp_path {place}/upstream-body;\nproxy_temp_path {place}/upstream-proxy;\n\
         fastcgi_temp_path {place}/upstream-fastcgi;\nuwsgi_temp_path {place}/upstream-uwsgi;\n\
         scgi_temp_path {place}/upstream-scgi;\nsendfile on;\ntcp_nopush on;\nopen_file_cache max=10;\n\
         server {{\nlisten {listen} backlog=4096;\nroot {place}/files;\n\
         location = /api/large {{ error_page 405 =200 $uri; }}\n\
         location = /api/seen {{ return 200 \"user=$http_x_user_id;role=$http_x_user_role;\"; }}\n\
         location / {{ return 200 \"{body}\"; }}\n}}\n}}\n"
    )
}
