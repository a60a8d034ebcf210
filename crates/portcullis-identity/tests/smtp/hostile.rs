//! What strangers write where an address belongs.

use portcullis_identity::{Email, Mailer as _};

use crate::server::{self, Setup, headers, part};
use crate::{mail_to, plain, settled, start};

/// Attempts at a second recipient, a header or a command of their own, or markup.
const HOSTILE: [&str; 20] = [
    "ann@example.com\r\nBcc: eve@example.com",
    "ann@example.com\nBcc: eve@example.com",
    "ann@example.com\rRCPT TO:<eve@example.com>",
    "ann\r\nDATA@example.com",
    "ann@example.com>\r\nRCPT TO:<eve@example.com",
    "ann@example.com%0d%0aBcc:eve@example.com",
    "ann@example.com,eve@example.com",
    "ann@example.com;eve@example.com",
    "ann@example.com eve@example.com",
    "eve@example.com,@example.com:ann@example.com",
    "Ann <ann@example.com>",
    "<ann@example.com>",
    "\"ann eve\"@example.com",
    "\"<script>\"@example.com",
    "<b>ann</b>@example.com",
    "ann@example.com\0eve@example.com",
    "ann\u{2028}@example.com",
    "ann\u{1b}[31m@example.com",
    "ann@ex\u{430}mple.com",
    "ann@[127.0.0.1]",
];

#[tokio::test]
async fn a10_hostile_addresses_reach_no_server() {
    for address in HOSTILE {
        assert!(Email::parse(address).is_err(), "{address:?}");
    }
    if !server::is_installed() {
        return;
    }
    // What is an address, however odd, is one recipient and one header, and changes nothing else.
    let server = Setup::plain().start();
    let (mailer, drops) = start(plain(server.port));
    let odd = ["o'neil@example.com", "!#$%&'*+-/=?^_`{|}~@example.com", "a=40b.c%d@x-y.example.com", "--@example.com"];
    for address in odd {
        mailer.send(mail_to(address));
        settled(&mailer).await;
        let mail = server.next("mail");
        assert_eq!(mail["recipients"], serde_json::json!([address]));
        assert_eq!(headers(&mail, "To"), [address]);
        assert!(["Cc", "Bcc", "Reply-To", "Sender"].iter().all(|name| headers(&mail, name).is_empty()));
        assert!(!part(&mail, "text/plain").contains(address) && !part(&mail, "text/html").contains(address));
    }
    assert!(drops.all().is_empty());
}
