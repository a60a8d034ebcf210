//! What an operator does by the ids of accounts.

use portcullis_core::ports::Standing;
use portcullis_core::{ClientAddress, Clock as _};
use portcullis_identity::{AccountFilter, AccountPatch, NewAccount};

use super::*;

fn operator() -> Origin {
    Origin { client: Some(ClientAddress::new([127, 0, 0, 1].into())), request: None, operator: true }
}

async fn id(house: &House, email: &str) -> String {
    let filter = AccountFilter { email: Some(email.to_owned()), ..AccountFilter::default() };
    let page = house.identity.accounts_page(&filter, None, 10).await.unwrap();
    assert_eq!((page.accounts.len(), page.next), (1, None));
    page.accounts[0].id.clone()
}

#[tokio::test]
async fn a11_pages_show_every_account_once() {
    let house = House::new().await;
    for number in 0..7 {
        let new = NewAccount {
            email: format!("user{number}@example.com"),
            password: Secret::new(PASSWORD.to_owned()),
            name: None,
            role: if number % 2 == 0 { "viewer" } else { "editor" }.to_owned(),
            plan: None,
        };
        house.identity.create_account(new, operator()).await.unwrap();
    }
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = house.identity.accounts_page(&AccountFilter::default(), after.as_deref(), 3).await.unwrap();
        assert!(page.accounts.len() <= 3);
        seen.extend(page.accounts.into_iter().map(|account| account.email));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), pages), (7, 3));

    let role = |role: &str| AccountFilter { role: Some(role.to_owned()), ..AccountFilter::default() };
    assert_eq!(house.identity.accounts_page(&role("editor"), None, 200).await.unwrap().accounts.len(), 3);
    assert_eq!(house.identity.accounts_page(&role("nobody"), None, 200).await.unwrap().accounts.len(), 0);
    let disabled = |disabled| AccountFilter { disabled: Some(disabled), ..AccountFilter::default() };
    let one = id(&house, "USER3@example.com").await;
    let patch = AccountPatch { disabled: Some(true), ..AccountPatch::default() };
    house.identity.patch_account(&one, &patch, operator()).await.unwrap();
    assert_eq!(house.identity.accounts_page(&disabled(true), None, 200).await.unwrap().accounts.len(), 1);
    assert_eq!(house.identity.accounts_page(&disabled(false), None, 200).await.unwrap().accounts.len(), 6);
    let both = AccountFilter { email: Some("user3@example.com".into()), ..disabled(false) };
    assert_eq!(house.identity.accounts_page(&both, None, 200).await.unwrap().accounts.len(), 0);
    for hostile in ["", "\0", "x'--", "é", &"a".repeat(65)] {
        let page = house.identity.accounts_page(&AccountFilter::default(), Some(hostile), 10).await;
        assert!(matches!(page, Err(IdentityError::Invalid(_))), "{hostile:?}");
        assert!(house.identity.accounts_page(&role(hostile), None, 10).await.is_err(), "{hostile:?}");
        let account = house.identity.account(hostile).await;
        assert!(matches!(account, Err(IdentityError::NoAccount)), "{hostile:?}");
    }
}

#[tokio::test]
async fn a11_a_patch_changes_what_it_names_in_one_step_and_is_audited() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let id = id(&house, "ann@example.com").await;
    let tokens = house.login("ann@example.com", PASSWORD).await.unwrap();
    let name = AccountPatch { name: Some(Some("  Ann Other ".into())), ..AccountPatch::default() };
    assert_eq!(house.identity.patch_account(&id, &name, operator()).await.unwrap().name.as_deref(), Some("Ann Other"));
    let same = AccountPatch { role: Some("editor".into()), disabled: Some(false), ..AccountPatch::default() };
    house.identity.patch_account(&id, &same, operator()).await.unwrap();
    assert_eq!(house.standing(&tokens), Standing::Good, "neither a name nor nothing ends a session");

    let patch =
        AccountPatch { role: Some("admin".into()), plan: Some("pro".into()), name: Some(None), disabled: Some(true) };
    let account = house.identity.patch_account(&id, &patch, operator()).await.unwrap();
    assert_eq!((account.role.as_str(), account.plan.as_str(), account.name.as_deref()), ("admin", "pro", None));
    assert_eq!(account.disabled_at, Some(house.clock.now()));
    assert_eq!(house.standing(&tokens), Standing::Revoked);
    assert!(matches!(house.login("ann@example.com", PASSWORD).await, Err(IdentityError::Disabled)));
    let audit = house.audit().await;
    assert_eq!(audit[audit.len() - 5..], ["renamed", "role_changed", "plan_changed", "account_disabled", "renamed"]);
    assert_eq!(
        house.raw().await.texts("SELECT client FROM audit WHERE action = 'role_changed'").await,
        ["operator 127.0.0.1"]
    );

    let bad = AccountPatch {
        role: Some("no such role!".into()),
        plan: Some(String::new()),
        name: Some(Some("\u{1b}[2J".into())),
        disabled: None,
    };
    let Err(IdentityError::Invalid(broken)) = house.identity.patch_account(&id, &bad, operator()).await else {
        panic!("it is refused")
    };
    assert_eq!(broken.iter().map(|rule| rule.field).collect::<Vec<_>>(), ["role", "plan", "name"]);
    for nobody in ["0", "\0", ""] {
        let gone = house.identity.patch_account(nobody, &AccountPatch::default(), operator()).await;
        assert!(matches!(gone, Err(IdentityError::NoAccount)));
    }
}

#[tokio::test]
async fn a11_a_password_a_revocation_and_a_deletion_by_id_end_every_token() {
    let house = House::new().await;
    house.create("ann@example.com").await;
    let id = id(&house, "ann@example.com").await;
    let first = house.login("ann@example.com", PASSWORD).await.unwrap();
    let weak = house.identity.set_password_of(&id, &Secret::new("short".into()), operator()).await;
    assert!(matches!(weak, Err(IdentityError::Invalid(_))));
    assert_eq!(house.standing(&first), Standing::Good);
    house.identity.set_password_of(&id, &Secret::new("Another-Horse-43".into()), operator()).await.unwrap();
    assert_eq!(house.standing(&first), Standing::Revoked);
    assert!(house.login("ann@example.com", PASSWORD).await.is_err());

    let second = house.login("ann@example.com", "Another-Horse-43").await.unwrap();
    house.identity.revoke_account(&id, operator()).await.unwrap();
    assert_eq!(house.standing(&second), Standing::Revoked);

    let third = house.login("ann@example.com", "Another-Horse-43").await.unwrap();
    house.identity.delete_account(&id, operator()).await.unwrap();
    assert_eq!(house.standing(&third), Standing::Revoked);
    let password = Secret::new(PASSWORD.to_owned());
    assert!(matches!(house.identity.set_password_of(&id, &password, operator()).await, Err(IdentityError::NoAccount)));
    assert!(matches!(house.identity.revoke_account(&id, operator()).await, Err(IdentityError::NoAccount)));
    assert!(matches!(house.identity.delete_account(&id, operator()).await, Err(IdentityError::NoAccount)));
}
