//! Through a proxy: HTTP CONNECT (RFC 9110, section 9.3.6), in clear text or inside TLS, and SOCKS 5 (RFC 1928).
//!
//! The proxy resolves the endpoint's name; TLS with the endpoint goes through it untouched.

use std::{io, net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_socks::{Error as SocksError, TargetAddr, tcp::Socks5Stream};
use tokio_util::either::Either;

use super::{
    dial, dns,
    http::{NoResponse, Response},
    socket::Socket,
    tls,
};
use crate::{
    error::{Code, Failure, Result, Stage},
    http_syntax::is_token,
    options::{Authority, Proxy, ProxyLogin, ProxyScheme},
    secrets::{is_secret, repeats},
};

/// Opens a way through `proxy` to `host:port`. `tls` is for a proxy that is itself reached over TLS.
pub(super) async fn reach(
    proxy: &Proxy,
    tls: Option<Arc<tls::Config>>,
    sockets: &dial::SocketOptions,
    host: &str,
    port: u16,
) -> Result<Socket> {
    let at = Authority(&proxy.host, proxy.port).to_string();
    let unreachable = |failure: Failure| {
        let message = format!("the proxy {proxy} cannot be reached: {}", failure.message());
        let mut unreachable = Failure::new(Code::Proxy, Stage::Proxy, message);
        if let Some(cause) = failure.cause() {
            unreachable = unreachable.with_cause(cause);
        }
        match failure.code() {
            Code::TlsCertificate => unreachable.as_refusal().with_hint(
                "The certificate is the proxy's own. It has to be for the name in the option proxy, in date by this machine's clock, and from an authority that the system or, where it is given, tls.ca trusts.",
            ),
            _ => unreachable,
        }
    };
    let addresses = dns::lookup(&proxy.host, proxy.port)
        .await
        .map_err(unreachable)?;
    let tcp = dial::connect(&addresses, sockets, &at)
        .await
        .map_err(unreachable)?;
    let mut socket = match tls {
        None => Either::Left(tcp),
        Some(config) => tls::handshake(config, proxy.server_name.clone(), tcp)
            .await
            .map(|tls| Either::Right(Box::new(tls)))
            .map_err(|error| unreachable(tls::failure(&error, &at, &proxy.host, &[])))?,
    };
    match proxy.scheme {
        ProxyScheme::Http | ProxyScheme::Https => {
            http_connect(&mut socket, proxy, &Authority(host, port).to_string()).await?;
            Ok(socket)
        }
        ProxyScheme::Socks5 => socks5(socket, proxy, host, port).await,
    }
}

async fn http_connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    target: &str,
) -> Result<()> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    let credentials = proxy.login.as_ref().map(basic);
    if let Some(credentials) = &credentials {
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(credentials);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    // The refusal may have come before all of the request had left.
    let sent = sent.await;
    let (response, rest) = Response::read(stream)
        .await
        .map_err(|reason| no_response(proxy, reason, sent.err()))?;
    if !(200..300).contains(&response.status) {
        return Err(refused(proxy, target, &response, credentials.as_deref()));
    }
    if !rest.is_empty() {
        // The endpoint is silent until it is greeted: whoever speaks here is somebody else.
        let message =
            format!("the proxy {proxy} sent something behind its answer to CONNECT {target}");
        return Err(Failure::new(Code::Proxy, Stage::Proxy, message));
    }
    Ok(())
}

fn refused(proxy: &Proxy, target: &str, response: &Response, credentials: Option<&str>) -> Failure {
    let mut secrets: Vec<&str> = credentials.into_iter().collect();
    if let Some(login) = &proxy.login {
        secrets.extend([login.username.as_str(), login.password.as_str()]);
    }
    secrets.retain(|secret| is_secret(secret));
    let status = response.status_line(&secrets);
    // Some proxies refuse a wrong login with 401, tinyproxy among them.
    if !matches!(response.status, 401 | 407) {
        let message = format!("the proxy {proxy} refused to connect to {target}: HTTP {status}");
        return Failure::new(Code::Proxy, Stage::Proxy, message);
    }
    let schemes: Vec<String> = response
        .all("proxy-authenticate")
        .flat_map(schemes)
        .filter(|scheme| !secrets.iter().any(|secret| repeats(scheme, secret)))
        .take(5)
        .collect();
    let offers_basic = schemes
        .iter()
        .any(|scheme| scheme.eq_ignore_ascii_case("basic"));
    let message = if !schemes.is_empty() && !offers_basic {
        format!(
            "the proxy {proxy} wants a login by {}, which is not supported; Basic is",
            schemes.join(" or ")
        )
    } else if proxy.login.is_some() {
        format!("the proxy {proxy} did not accept the user name and password it was given")
    } else {
        format!("the proxy {proxy} wants a user name and password, and none are given")
    };
    Failure::new(Code::ProxyAuth, Stage::Proxy, message)
}

/// The schemes in a list of challenges, each of which may have parameters (RFC 9110, section 11.6.1).
fn schemes(challenges: &str) -> Vec<String> {
    let without_quoted: String = challenges.split('"').step_by(2).collect();
    without_quoted
        .split(',')
        .filter_map(|item| item.split_whitespace().next())
        // A parameter has a '='.
        .filter(|word| is_token(word) && word.len() <= 20)
        .map(str::to_owned)
        .collect()
}

fn no_response(proxy: &Proxy, reason: NoResponse, sent: Option<io::Error>) -> Failure {
    let proxy_failure = |what: &str| {
        let message = format!("the proxy {proxy} {what}");
        Failure::new(Code::Proxy, Stage::Proxy, message)
    };
    match reason {
        NoResponse::Closed => {
            let failure = proxy_failure("closed the connection without an answer to CONNECT");
            match sent {
                Some(error) => failure.with_cause(error),
                None => failure,
            }
        }
        NoResponse::Io(error) => {
            proxy_failure("broke the connection before it had answered CONNECT").with_cause(error)
        }
        NoResponse::TooLong => proxy_failure("answered CONNECT with headers without end"),
        NoResponse::NotHttp => proxy_failure("answered CONNECT with something that is no HTTP")
            .with_hint("Check host and port of the proxy, and its kind: http:// is for HTTP CONNECT, https:// for the same inside TLS, socks5:// for SOCKS."),
    }
}

async fn socks5(socket: Socket, proxy: &Proxy, host: &str, port: u16) -> Result<Socket> {
    let target = match host.parse::<IpAddr>() {
        Ok(address) => TargetAddr::Ip((address, port).into()),
        Err(_name) => TargetAddr::Domain(host.into(), port),
    };
    let opened = match &proxy.login {
        None => Socks5Stream::connect_with_socket(socket, target).await,
        Some(ProxyLogin { username, password }) => {
            Socks5Stream::connect_with_password_and_socket(socket, target, username, password).await
        }
    };
    opened
        .map(Socks5Stream::into_inner)
        .map_err(|error| socks_failure(proxy, &error, host, port))
}

fn socks_failure(proxy: &Proxy, error: &SocksError, host: &str, port: u16) -> Failure {
    let target = Authority(host, port);
    let auth = |message: String| Failure::new(Code::ProxyAuth, Stage::Proxy, message);
    let other = |message: String| Failure::new(Code::Proxy, Stage::Proxy, message);
    match error {
        SocksError::PasswordAuthFailure(_) => auth(format!(
            "the proxy {proxy} did not accept the user name and password it was given"
        )),
        SocksError::NoAcceptableAuthMethods if proxy.login.is_some() => auth(format!(
            "the proxy {proxy} wants a login by another method than user name and password"
        )),
        SocksError::NoAcceptableAuthMethods | SocksError::AuthorizationRequired => auth(format!(
            "the proxy {proxy} wants a login, and none is given"
        )),
        // The crate says so of a method that was not offered, and of any refusal that RFC 1928 does not know.
        SocksError::UnknownAuthMethod => other(format!(
            "the proxy {proxy} answered with a method or a refusal that SOCKS 5 does not know, and did not connect to {target}"
        )),
        SocksError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => other(format!(
            "the proxy {proxy} closed the connection before it had connected to {target}"
        )),
        SocksError::Io(error) => other(format!(
            "the connection to the proxy {proxy} broke before it had connected to {target}"
        ))
        .with_cause(error),
        SocksError::InvalidResponseVersion
        | SocksError::InvalidReservedByte
        | SocksError::UnknownAddressType => {
            other(format!("the proxy {proxy} does not speak SOCKS 5")).with_hint(
                "Check host and port of the proxy, and its kind: socks5:// is for SOCKS, http:// for HTTP CONNECT.",
            )
        }
        refusal => other(format!(
            "the proxy {proxy} could not connect to {target}: {refusal}"
        )),
    }
}

/// RFC 7617, section 2.
fn basic(login: &ProxyLogin) -> String {
    STANDARD.encode(format!("{}:{}", login.username, login.password))
}

#[cfg(test)]
mod tests;
