use super::*;
use crate::{
    error::Code,
    options::{ConnectOptions, Options},
};

fn given(scheme: &str) -> ProxyOptions {
    ProxyOptions {
        scheme: scheme.to_owned(),
        host: "proxy.example".to_owned(),
        ..ProxyOptions::default()
    }
}

fn login(scheme: &str, username: &str, password: &str) -> ProxyOptions {
    ProxyOptions {
        username: Some(username.to_owned()),
        password: Some(password.to_owned()),
        ..given(scheme)
    }
}

fn validate(proxy: ProxyOptions) -> Result<Options> {
    ConnectOptions {
        endpoint: "iot.example".to_owned(),
        proxy: Some(proxy),
        ..ConnectOptions::default()
    }
    .validate()
}

fn valid(proxy: ProxyOptions) -> Proxy {
    match validate(proxy) {
        Ok(options) => *options.proxy.expect("a proxy"),
        Err(failure) => panic!("{failure:?}"),
    }
}

/// The message of a refusal that shows no login.
fn refusal(proxy: ProxyOptions) -> String {
    let Err(failure) = validate(proxy) else {
        panic!("accepted")
    };
    assert_eq!(failure.code(), Code::InvalidOption, "{failure:?}");
    assert!(!format!("{failure:?}").contains("s3cr3t"), "{failure:?}");
    failure.message().to_owned()
}

#[test]
fn each_scheme_has_its_port() {
    for (scheme, kind, port) in [
        ("http", ProxyScheme::Http, 80),
        ("https", ProxyScheme::Https, 443),
        ("socks5", ProxyScheme::Socks5, 1_080),
    ] {
        let proxy = valid(given(scheme));
        assert_eq!((proxy.scheme, proxy.port), (kind, port));
        assert!(proxy.login.is_none());
        let elsewhere = ProxyOptions {
            port: Some(3_128.0),
            ..given(scheme)
        };
        assert_eq!(valid(elsewhere).port, 3_128);
    }
}

#[test]
fn schemes_that_are_not_supported() {
    for scheme in ["", "socks4", "socks5h", "socks", "HTTP", "ftp", "s3cr3t"] {
        let message = refusal(given(scheme));
        assert!(
            message.contains("http://, https:// or socks5://"),
            "{message}"
        );
    }
}

#[test]
fn ports_that_do_not_exist() {
    for port in [0.0, 65_536.0, 1.5, -1.0, f64::NAN] {
        let proxy = ProxyOptions {
            port: Some(port),
            ..given("http")
        };
        let message = refusal(proxy);
        assert!(message.contains("the port of proxy"), "{message}");
    }
}

#[test]
fn hosts_that_are_none() {
    for host in [
        "",
        "a b",
        "a..b",
        "user:s3cr3t@proxy",
        "http://s3cr3t@proxy",
        "h:1",
        "h/p",
    ] {
        let proxy = ProxyOptions {
            host: host.to_owned(),
            ..given("http")
        };
        let message = refusal(proxy);
        assert!(message.starts_with("the host of proxy"), "{message}");
    }
}

#[test]
fn an_address_is_a_host_too() {
    for (host, shown) in [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
    ] {
        let proxy = ProxyOptions {
            host: host.to_owned(),
            ..given("http")
        };
        assert_eq!(valid(proxy).to_string(), shown);
    }
}

#[test]
fn a_proxy_is_shown_without_its_login() {
    for scheme in ["http", "https", "socks5"] {
        let proxy = valid(login(scheme, "s3cr3t-user", "s3cr3t"));
        let port = proxy.port;
        assert_eq!(
            proxy.to_string(),
            format!("{scheme}://proxy.example:{port}")
        );
    }
}

#[test]
fn a_login_is_taken_as_it_is() {
    for scheme in ["http", "https", "socks5"] {
        let login = valid(login(scheme, "ü ser@", "p:a%40\nss")).login.unwrap();
        assert_eq!(login.username, "ü ser@");
        assert_eq!(login.password, "p:a%40\nss");
    }
}

#[test]
fn an_empty_login_is_none() {
    for scheme in ["http", "https", "socks5"] {
        assert!(valid(login(scheme, "", "")).login.is_none());
    }
}

#[test]
fn http_takes_half_a_login() {
    for scheme in ["http", "https"] {
        let user = valid(login(scheme, "user", "")).login.unwrap();
        assert_eq!((&*user.username, &*user.password), ("user", ""));
        let password = valid(login(scheme, "", "pass")).login.unwrap();
        assert_eq!((&*password.username, &*password.password), ("", "pass"));
    }
}

#[test]
fn a_colon_in_a_user_name_is_for_socks_alone() {
    for scheme in ["http", "https"] {
        let message = refusal(login(scheme, "s3cr3t:user", "s3cr3t"));
        assert!(message.contains("holds a ':'"), "{message}");
    }
    assert!(valid(login("socks5", "a:b", "p")).login.is_some());
}

#[test]
fn socks_5_takes_1_to_255_bytes_of_each() {
    let longest = "x".repeat(255);
    assert!(valid(login("socks5", &longest, &longest)).login.is_some());
    let long = format!("s3cr3t{}", "ä".repeat(125));
    for (username, password, words) in [
        (&*long, "s3cr3t", "the user name of proxy has 256 bytes"),
        ("s3cr3t", &*long, "the password of proxy has 256 bytes"),
        ("", "s3cr3t", "the user name of proxy has 0 bytes"),
        ("s3cr3t", "", "the password of proxy has 0 bytes"),
    ] {
        let message = refusal(login("socks5", username, password));
        assert!(message.contains(words), "{message}");
    }
    assert!(valid(login("http", &long, &long)).login.is_some());
}

#[test]
fn a_host_that_is_no_name_is_not_quoted() {
    let message = refusal(ProxyOptions {
        host: "t_p!s3cr3t".to_owned(),
        ..given("http")
    });
    assert!(message.contains("the host of proxy"), "{message}");
}
