use proptest::prelude::*;

use super::*;

fn url(text: &str) -> RtmpUrl {
    RtmpUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn app_and_name_are_split_as_ffmpeg_does() {
    // What `ffmpeg -v debug -i URL` (5.1) says that it sends, but for the double slash, whose app it gives as `live/`, the slash in the
    // query, which it counts, and `.flv`, which it takes off.
    for (path, app, name) in [
        ("live/cam1", "live", "cam1"),
        ("live/site/cam1", "live/site", "cam1"),
        ("live/site/b/cam1", "live/site", "b/cam1"),
        ("vod/mp4:site/film", "vod", "mp4:site/film"),
        ("live//site/cam1", "live", "site/cam1"),
        ("live/cam1?token=a/b", "live", "cam1?token=a/b"),
        ("live/cam1?", "live", "cam1"),
        ("live/cam.flv", "live", "cam.flv"),
        ("live/%63am1", "live", "%63am1"),
    ] {
        let url = url(&format!("rtmp://host/{path}"));
        assert_eq!((url.app(), url.playing_name().as_str()), (app, name), "{path}");
    }
}

#[test]
fn the_url_that_is_connected_to_has_port_and_app_and_keeps_user_and_password() {
    for (text, tc_url) in [
        ("rtmp://host/live/a", "rtmp://host:1935/live"),
        ("RTMP://host:1936/live/site/a?x=1", "rtmp://host:1936/live/site"),
        ("rtmps://host/live/a", "rtmps://host:443/live"),
        ("rtmp://me:p@ss@host/live/a", "rtmp://me:p@ss@host:1935/live"),
        ("rtmp://@host/live/a", "rtmp://host:1935/live"),
        ("rtmp://[::1]/live/a", "rtmp://[::1]:1935/live"),
        ("rtmps://[2001:db8::7]:444/live/a", "rtmps://[2001:db8::7]:444/live"),
    ] {
        assert_eq!(url(text).tc_url(), tc_url, "{text}");
    }
    assert_eq!((url("rtmps://[::1]/a/b").host(), url("rtmps://[::1]/a/b").is_tls()), ("::1", true));
}

#[test]
fn what_is_no_url_is_refused_with_its_reason() {
    for (text, error) in [
        ("", UrlError::Scheme),
        ("host/live/a", UrlError::Scheme),
        ("http://host/live/a", UrlError::Scheme),
        ("rtmpe://host/live/a", UrlError::Scheme),
        ("rtmp://", UrlError::Host),
        ("rtmp:///live/a", UrlError::Host),
        ("rtmp://:1935/live/a", UrlError::Host),
        ("rtmp://h st/live/a", UrlError::Characters),
        ("rtmp://host/live/a\r\nb", UrlError::Characters),
        ("rtmp://höst/live/a", UrlError::Host),
        ("rtmp://::1/live/a", UrlError::Host),
        ("rtmp://[::1/live/a", UrlError::Host),
        ("rtmp://[::1]x/live/a", UrlError::Host),
        ("rtmp://[host]/live/a", UrlError::Host),
        ("rtmp://host:/live/a", UrlError::Port),
        ("rtmp://host:0/live/a", UrlError::Port),
        ("rtmp://host:+80/live/a", UrlError::Port),
        ("rtmp://host:65536/live/a", UrlError::Port),
        ("rtmp://host", UrlError::Path),
        ("rtmp://host/live", UrlError::Path),
        ("rtmp://host/live/", UrlError::Path),
        ("rtmp://host/live/?a=b", UrlError::Path),
        ("rtmp://host//live/a", UrlError::Path),
        ("rtmp://host/live/site/", UrlError::Path),
    ] {
        assert_eq!(RtmpUrl::parse(text), Err(error), "{text}");
    }
    let long = format!("rtmp://host/live/{}", "a".repeat(MAX_URL_BYTES));
    assert_eq!(RtmpUrl::parse(&long), Err(UrlError::TooLong));
}

#[test]
fn what_is_shown_has_no_secrets() {
    let url = url("rtmps://me:hush@host/live/cam1?token=s3cret&psst&user=me&x=");
    let shown = "rtmps://host:443/live/cam1?token=***&***&user=***&x=***";
    assert_eq!(url.to_string(), shown);
    assert_eq!(format!("{url:?}"), format!("RtmpUrl({shown})"));
}

#[test]
fn what_the_remote_repeats_of_the_secrets_is_taken_out() {
    let secret = url("rtmp://me:hush@host/live/cam1?token=hushhush&psst&a=*");
    assert_eq!(
        secret.redact("no cam1?token=hushhush&psst for me (me:hush) * hush"),
        "no cam1?token=***&*** for *** (***) *** ***"
    );
    // As it is written, and as a server may have read it.
    let escaped = url("rtmp://host/live/cam1?token=a%2Fb");
    assert_eq!(escaped.redact("no a%2Fb, no a/b"), "no ***, no ***");
    let plain = url("rtmp://host/live/cam1");
    assert_eq!(plain.redact("no cam1"), "no cam1");
}

proptest! {
    #[test]
    fn no_text_is_more_than_refused_and_what_is_taken_is_whole(text in "(rtmps?://)?[a-c:@?&=/\\[\\]. 1é]{0,30}") {
        if let Ok(url) = RtmpUrl::parse(&text) {
            prop_assert!(!url.host().is_empty() && url.port() > 0);
            prop_assert!(!url.app().is_empty() && !url.name.is_empty());
            let again = RtmpUrl::parse(&format!("{}/{}", url.tc_url(), url.playing_name()));
            // An app of one segment takes a second one from a name that has several.
            if let Ok(again) = again && !(url.name.contains('/')) {
                prop_assert_eq!(again, url);
            }
        }
    }

    #[test]
    fn no_secret_is_shown(user in "[g-z]{4,8}", password in "[g-z]{4,8}", token in "[g-z]{4,8}") {
        let text = format!("rtmp://{user}:{password}@a.b/c/d?e={token}&f={password}");
        let url = url(&text);
        let shown = format!("{url} {url:?} {}", url.redact(&format!("{text} {token}{user}")));
        for secret in [&user, &password, &token] {
            prop_assert!(!shown.contains(secret.as_str()), "{}", shown);
        }
    }
}
