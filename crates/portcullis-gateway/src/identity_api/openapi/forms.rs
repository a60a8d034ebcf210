//! What the forms of the hosted pages post. They are only described here: the pages read their members by name.

use schemars::JsonSchema;

macro_rules! forms {
    ($($(#[$about:meta])* $name:ident { $($member:ident),* })*) => {$(
        $(#[$about])*
        #[derive(JsonSchema)]
        #[schemars(rename_all = "camelCase")]
        #[expect(dead_code, reason = "it is only described")]
        pub(super) struct $name { $($member: String),* }
    )*};
}

forms! {
    /// The token of the page, bound to its browser. Beside it the page sends the session's, in the field that `GET /auth/csrf`
    /// names.
    OwnForm { csrf }
    /// The sign-in page's.
    SignInForm { csrf, email, password, next }
    /// The sign-up page's.
    SignUpForm { csrf, email, password, name }
    /// A page's that asks for a mail.
    AddressForm { csrf, email }
    /// The account page's, with the session's token beside it.
    PasswordForm { csrf, current_password, new_password }
    /// A mailed link's.
    LinkForm { token }
    /// The one behind a link to set another password.
    ResetForm { token, password }
}
