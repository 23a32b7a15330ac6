//! What a publisher gives to be known by, wherever it gives it:
//!
//! | where | user | password | token |
//! | --- | --- | --- | --- |
//! | `rtmp://user:password@host/…`, where a client leaves it in tcUrl | ✓ | ✓ | |
//! | the queries of tcUrl or app, and of the publishing name: `user=`, `pass=`, `token=` | ✓ | ✓ | ✓ |
//! | Adobe's dialog: OBS's user name and password, librtmp's `pubUser` and `pubPasswd`, ffmpeg's `user:password@` | ✓ | a response that proves it | |
//!
//! Of what is given twice the last counts. Adobe's dialog has no specification; librtmp's and ffmpeg's sources are one. A
//! client that is asked for its user connects anew, and says more in the query of its app each time:
//!
//! | query of the app | is answered by `_error` with the description |
//! | --- | --- |
//! | nothing, and a user is [demanded](AdobeAuth::demanded) | `[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ` |
//! | `authmod=adobe&user=U` | `[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=U&salt=S&challenge=O&opaque=O` |
//! | `authmod=adobe&user=U&challenge=C&response=R&opaque=O` | nothing: it is connected |
//!
//! with R = base64(MD5(base64(MD5(U + S + password)) + O + C)). A client may begin with the second line by itself. That R is right is for
//! the one who takes the publisher to see, who knows the passwords.

use std::fmt;

/// Adobe's dialog, as this side leads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AdobeAuth {
    /// Whether a client that connects without a user, password or token is told to come back with a user.
    pub demanded: bool,
    /// What passwords are salted with; random, and the same for all connections of a process: a client answers on another connection
    /// than the one on which it was asked.
    pub salt: u64,
    /// Names what this connection asks; random.
    pub opaque: u64,
}

/// What a publisher gave to be known by. All of it is as the publisher wrote it: nothing is verified.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user's name.
    pub user: Option<String>,
    /// The password in clear.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// What proves the password of `user` without saying it.
    pub adobe_response: Option<AdobeResponse>,
}

/// The end of Adobe's dialog. With the password of the user, the response can be computed from the rest (see the module).
#[derive(Clone, PartialEq, Eq)]
pub struct AdobeResponse {
    /// The salt that this side gave.
    pub salt: String,
    /// What the client says this side asked, which is to be held against what was asked: else an old response could be used again.
    pub opaque: String,
    /// The client's own random text.
    pub challenge: String,
    /// The response.
    pub response: String,
}

impl fmt::Debug for Credentials {
    /// Says what there is, not what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user.is_some())
            .field("password", &self.password.is_some())
            .field("token", &self.token.is_some())
            .field("adobe_response", &self.adobe_response.is_some())
            .finish()
    }
}

impl fmt::Debug for AdobeResponse {
    /// Says nothing: a password can be guessed by it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdobeResponse").finish_non_exhaustive()
    }
}

impl AdobeAuth {
    /// What a `connect` is refused with, by what its `query` gives; `None` where it is connected.
    pub(super) fn refusal(&self, tc_url: &str, query: &str) -> Option<String> {
        let fields = Adobe::of(query);
        match (fields.user, fields.response) {
            (Some(user), None) if fields.is_adobe => {
                let (salt, opaque) = (self.salt(), word(self.opaque));
                Some(format!(
                    "[ AccessManager.Reject ] : [ authmod=adobe ] : \
                     ?reason=needauth&user={user}&salt={salt}&challenge={opaque}&opaque={opaque}"
                ))
            }
            _ if self.demanded && Credentials::of(tc_url, query, self).is_empty() => {
                let text = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
                Some(text.to_owned())
            }
            _ => None,
        }
    }

    fn salt(&self) -> String {
        word(self.salt)
    }
}

impl Credentials {
    /// Those in a tcUrl and in queries that are joined by `&`.
    pub(super) fn of(tc_url: &str, query: &str, auth: &AdobeAuth) -> Self {
        let mut this = Self::default();
        if let Some((user, password)) = user_info(tc_url) {
            this.user = Some(user);
            this.password = password;
        }
        for (name, value) in parameters(query) {
            let field = match name {
                "user" => &mut this.user,
                "pass" => &mut this.password,
                "token" => &mut this.token,
                _ => continue,
            };
            *field = Some(decode(value));
        }
        let fields = Adobe::of(query);
        if let (true, Some(user), Some(response)) = (fields.is_adobe, fields.user, fields.response)
        {
            // The response was made of the name as it stands here.
            this.user = Some(user.to_owned());
            this.adobe_response = Some(AdobeResponse {
                salt: auth.salt(),
                opaque: fields.opaque.unwrap_or_default().to_owned(),
                challenge: fields.challenge.unwrap_or_default().to_owned(),
                response: response.to_owned(),
            });
        }
        this
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The fields of Adobe's dialog in a query. They are not escaped: base64 has `+`, `/` and `=`.
#[derive(Default)]
struct Adobe<'a> {
    is_adobe: bool,
    user: Option<&'a str>,
    challenge: Option<&'a str>,
    response: Option<&'a str>,
    opaque: Option<&'a str>,
}

impl<'a> Adobe<'a> {
    fn of(query: &'a str) -> Self {
        let mut this = Self::default();
        for (name, value) in parameters(query) {
            match name {
                "authmod" => this.is_adobe = value == "adobe",
                "user" => this.user = Some(value),
                "challenge" => this.challenge = Some(base64_of(value)),
                "response" => this.response = Some(base64_of(value)),
                "opaque" => this.opaque = Some(value),
                _ => {}
            }
        }
        this.user = this.user.filter(|user| !user.is_empty());
        this
    }
}

/// Names and values. ffmpeg appends a further `?authmod=…` to an app that has a query, so that a `?` divides as `&` does where a
/// name follows it.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = query.split('&').flat_map(|part| match part.find("?authmod=") {
        Some(at) => [Some(&part[..at]), Some(&part[at + 1..])],
        None => [Some(part), None],
    });
    parts.flatten().filter_map(|part| part.split_once('='))
}

/// The base64 that a text begins with. librtmp (2.4, with GnuTLS) does not end its own, so that whatever lies behind it in memory follows.
fn base64_of(text: &str) -> &str {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    let digits = text.find(|c| !is_digit(c)).unwrap_or(text.len());
    let padding = text[digits..].bytes().take(2).take_while(|byte| *byte == b'=').count();
    &text[..digits + padding]
}

/// User and password of `scheme://user:password@host/…`.
fn user_info(url: &str) -> Option<(String, Option<String>)> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (user, Some(decode(password))),
        None => (user_info, None),
    };
    Some((decode(user), password))
}

/// Undoes percent-encoding (RFC 3986, 2.1); what is none, or gives no UTF-8, stays as it is.
pub(in crate::rtmp) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            Some(hex) => {
                out.extend(u8::from_str_radix(hex, 16).ok());
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// A number as a word that needs no escaping anywhere. ffmpeg keeps 299 bytes of what it is asked.
fn word(number: u64) -> String {
    format!("{number:016x}")
}

#[cfg(test)]
mod tests;
