//! What is remembered of a verified token, and for how long.

use super::*;

#[test]
fn t3_a_rotated_key_takes_what_it_verified_along() {
    let house = house(Algorithm::Es256);
    let token = house.sign(&claims());
    assert!(house.judge(&token).is_ok());
    assert!(matches!(house.verifier.lookup(&token, Scheme::Bearer, NOW), Lookup::Known(Ok(_))));
    let next = SigningKey::generate(Algorithm::Es256).unwrap();
    let both = vec![next.verification_key().clone(), house.key.verification_key().clone()];
    house.source.replace(KeySet::new(both).unwrap());
    let remembered = |token: &str| matches!(house.verifier.lookup(token, Scheme::Bearer, NOW), Lookup::Known(Ok(_)));
    assert!(remembered(&token), "a retired key still verifies, so nobody has to verify again");
    assert!(remembered(&token), "under the new generation, too");
    let younger = next.sign("at+jwt", claims().to_string().as_bytes()).unwrap();
    assert!(house.judge(&younger).is_ok());
    house.source.replace(KeySet::new(vec![next.verification_key().clone()]).unwrap());
    assert!(!remembered(&token));
    assert!(remembered(&younger), "only what the key had verified that is gone");
    house.refuses(&token);
}

#[test]
fn t3_a_key_that_changes_under_its_name_takes_what_it_verified_along() {
    for algorithm in [Algorithm::Es256, Algorithm::Hs256] {
        let house = house(algorithm);
        let token = house.sign(&claims());
        assert!(house.judge(&token).is_ok());
        let other = SigningKey::generate(algorithm).unwrap().verification_key().clone().named(house.key.kid());
        house.source.replace(KeySet::new(vec![other]).unwrap());
        house.refuses(&token);
        // The same key under another name is not the one that the token asks for.
        house.source.replace(KeySet::new(vec![house.key.verification_key().clone()]).unwrap());
        assert!(house.judge(&token).is_ok());
        let renamed = house.key.verification_key().clone().named("another");
        house.source.replace(KeySet::new(vec![renamed]).unwrap());
        house.refuses(&token);
    }
}

#[test]
fn t3_rotation_under_load_never_lets_a_withdrawn_key_in() {
    let house = house(Algorithm::EdDsa);
    let gone = house.sign(&claims());
    let next = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let stays = next.sign("at+jwt", claims().to_string().as_bytes()).unwrap();
    let (old, new) = (house.key.verification_key().clone(), next.verification_key().clone());
    let withdrawn = std::sync::atomic::AtomicBool::new(false);
    house.source.replace(KeySet::new(vec![old.clone(), new.clone()]).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let already = withdrawn.load(std::sync::atomic::Ordering::SeqCst);
                    let judged = house.judge(&gone);
                    assert!(!(already && judged.is_ok()), "verified by a key that is gone");
                    assert!(house.judge(&stays).is_ok());
                }
            });
        }
        for _ in 0..50 {
            house.source.replace(KeySet::new(vec![new.clone(), old.clone()]).unwrap());
        }
        house.source.replace(KeySet::new(vec![new.clone()]).unwrap());
        withdrawn.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    house.refuses(&gone);
}

#[test]
fn a_remembered_token_keeps_the_place_where_it_was_presented() {
    let house = house(Algorithm::Es256);
    let token = house.sign(&claims());
    assert_eq!(house.judge(&token).unwrap().parts().scheme, Scheme::Bearer);
    let Lookup::Unknown(name) = house.verifier.lookup(&token, Scheme::Cookie, NOW) else { panic!("not as a cookie") };
    let cookie = house.verifier.verify(&token, name, Scheme::Cookie, NOW).unwrap();
    assert_eq!(cookie.parts().scheme, Scheme::Cookie);
    assert_eq!(house.judge(&token).unwrap().parts().scheme, Scheme::Bearer);
}

#[test]
fn only_successes_are_remembered_and_the_memory_is_bounded() {
    let key = SigningKey::generate(Algorithm::Hs256).unwrap();
    let source = KeySource::new(KeySet::new(vec![key.verification_key().clone()]).unwrap());
    let verifier = TokenVerifier::new(vec![own(source, vec![Algorithm::Hs256])], 100);
    for index in 0..1000 {
        let token = key.sign("at+jwt", with(&[("jti", json!(index.to_string()))]).to_string().as_bytes()).unwrap();
        assert!(judge_at(&verifier, &token, NOW).is_ok());
        assert!(judge_at(&verifier, &format!("{token}x"), NOW).is_err());
    }
    assert!(verifier.remembered() <= 100, "{}", verifier.remembered());
    assert_eq!((verifier.hits(), verifier.misses()), (0, 2000));
}

#[test]
fn long_tokens_take_the_place_of_several() {
    let key = SigningKey::generate(Algorithm::Hs256).unwrap();
    let source = KeySource::new(KeySet::new(vec![key.verification_key().clone()]).unwrap());
    let verifier = TokenVerifier::new(vec![own(source, vec![Algorithm::Hs256])], 100);
    for index in 0..200 {
        let roles: Vec<String> = (0..200).map(|role| role.to_string()).collect();
        let long = with(&[("jti", json!(index.to_string())), ("role", json!(roles))]);
        let token = key.sign("at+jwt", long.to_string().as_bytes()).unwrap();
        assert!(judge_at(&verifier, &token, NOW).is_ok());
    }
    assert!(verifier.remembered() < 20, "{}", verifier.remembered());
    // Without any memory every token is verified, and none is refused.
    let forgetful = TokenVerifier::new(vec![], 0);
    assert!(matches!(forgetful.lookup("a.b.c", Scheme::Bearer, NOW), Lookup::Unknown(_)));
}

#[test]
fn t2_a_token_from_a_future_that_a_wrong_clock_showed_is_judged_again_when_the_clock_is_right() {
    let house = house(Algorithm::Es256);
    let future = NOW.after(Duration::from_secs(30 * 86_400));
    let secs = future.as_secs();
    let token = house.sign(&with(&[("iat", json!(secs)), ("exp", json!(secs + 900))]));
    judge_at(&house.verifier, &token, future).unwrap();
    assert!(matches!(judge_at(&house.verifier, &token, NOW), Err(Reason::InvalidToken(_))));
    judge_at(&house.verifier, &token, future).unwrap();
    assert!(
        judge_at(&house.verifier, &token, future.before(Duration::from_secs(5))).is_ok(),
        "two cores differ by a breath"
    );
}
