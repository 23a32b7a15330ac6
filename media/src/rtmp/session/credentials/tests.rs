use super::*;

const AUTH: AdobeAuth = AdobeAuth { demanded: false, salt: 0xABCD, opaque: 7 };

/// User, password and token that a tcUrl and a query give.
fn given(tc_url: &str, query: &str) -> [Option<String>; 3] {
    let Credentials { user, password, token, .. } = Credentials::of(tc_url, query, &AUTH);
    [user, password, token]
}

#[test]
fn user_password_and_token_are_found_wherever_clients_put_them() {
    let some = |text: &str| Some(text.to_owned());
    for (tc_url, query, expected) in [
        ("rtmp://host/live", "", [None, None, None]),
        ("rtmp://host/live", "user=me&pass=secret", [some("me"), some("secret"), None]),
        ("rtmp://host/live", "token=abc=", [None, None, some("abc=")]),
        ("rtmp://me:secret@host:1935/live", "", [some("me"), some("secret"), None]),
        ("rtmp://me@host/live", "", [some("me"), None, None]),
        ("rtmp://m%40e:a%3Ab:c@host/live", "", [some("m@e"), some("a:b:c"), None]),
        ("rtmp://host/live/x@y", "", [None, None, None]),
        ("rtmp://host?x=a@b", "", [None, None, None]),
        // The last counts.
        ("rtmp://me:secret@host/live", "pass=other", [some("me"), some("other"), None]),
        ("", "user=one&user=two", [some("two"), None, None]),
        // A plus is a plus, and half an escape is none.
        ("", "user=a+b%20c&pass=100%&token=%zz%e", [some("a+b c"), some("100%"), some("%zz%e")]),
        ("", "user=%c3%a9&pass=%ff", [some("é"), some("%ff"), None]),
        ("", "user=é%é", [some("é%é"), None, None]),
        ("", "username=x&passw=y&user&=z&&", [None, None, None]),
        ("", "user=&pass=", [some(""), some(""), None]),
    ] {
        assert_eq!(given(tc_url, query), expected, "{tc_url} {query}");
    }
}

#[test]
fn a_user_without_a_response_is_asked_for_it() {
    let text = AUTH.refusal("", "authmod=adobe&user=me").unwrap();
    assert_eq!(
        text,
        "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=me\
         &salt=000000000000abcd&challenge=0000000000000007&opaque=0000000000000007"
    );
    // As ffmpeg says it when the user has put it into the app.
    assert!(AUTH.refusal("", "authmod=adobe&user=me?authmod=adobe&user=me").is_some());
}

#[test]
fn a_response_is_kept_with_what_it_answers() {
    let query = "authmod=adobe&user=m%20e&challenge=aGk=&response=a+b/c==&opaque=0000000000000007";
    for query in [query.to_owned(), format!("authmod=adobe&user=x?{query}")] {
        assert_eq!(AUTH.refusal("", &query), None);
        let credentials = Credentials::of("", &query, &AUTH);
        // It was made of the name as it was sent.
        assert_eq!(credentials.user.as_deref(), Some("m%20e"));
        let response = credentials.adobe_response.unwrap();
        assert_eq!(response.salt, "000000000000abcd");
        assert_eq!(response.opaque, "0000000000000007");
        assert_eq!((&*response.challenge, &*response.response), ("aGk=", "a+b/c=="));
    }
}

#[test]
fn what_lies_behind_librtmps_base64_is_cut_off() {
    for (sent, meant) in [
        ("yuz7Tup7WvF3c2ycT/Q5Jw==\u{FFFD}\u{13}x", "yuz7Tup7WvF3c2ycT/Q5Jw=="),
        ("abc=d", "abc="),
        ("abc===", "abc=="),
        ("0badcafe", "0badcafe"),
        ("+/é", "+/"),
        ("=", "="),
        ("", ""),
    ] {
        assert_eq!(base64_of(sent), meant);
    }
}

#[test]
fn nobody_is_asked_for_a_user_who_does_not_begin_by_itself() {
    for query in ["", "user=me", "authmod=llnw&user=me", "authmod=adobe", "authmod=adobe&user="] {
        assert_eq!(AUTH.refusal("rtmp://host/live", query), None, "{query}");
    }
}

#[test]
fn where_a_user_is_demanded_who_gives_nothing_is_told_how() {
    let auth = AdobeAuth { demanded: true, ..AUTH };
    let text = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
    assert_eq!(auth.refusal("rtmp://host/live", "x=y").as_deref(), Some(text));
    for (tc_url, query) in [
        ("rtmp://me:secret@host/live", ""),
        ("", "token=x"),
        ("", "user=me&pass=x"),
        ("", "authmod=adobe&user=me&challenge=a&response=b"),
    ] {
        assert_eq!(auth.refusal(tc_url, query), None, "{tc_url} {query}");
    }
    assert!(auth.refusal("", "authmod=adobe&user=me").unwrap().contains("reason=needauth"));
}

#[test]
fn debug_says_what_there_is_and_not_what_it_is() {
    let query = "authmod=adobe&user=Xu&pass=Xp&token=Xt&challenge=Xc&response=Xr&opaque=Xo";
    let credentials = Credentials::of("", query, &AUTH);
    let text = format!("{credentials:?} {:?}", credentials.adobe_response);
    assert!(!text.contains('X'), "{text}");
    assert!(text.contains("password: true"), "{text}");
}
