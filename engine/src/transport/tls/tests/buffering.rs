use std::{future::poll_fn, pin::Pin, task::Poll};

use tokio::io::{AsyncWrite, AsyncWriteExt, duplex};
use tokio_rustls::TlsAcceptor;

use crate::{
    testing::{Authority, options},
    transport::tls::{config, handshake},
};

#[tokio::test]
async fn no_more_than_a_record_is_held_back() {
    let authority = Authority::new();
    let options = options(|options| {
        options.endpoint = "localhost".to_owned();
        options.tls.ca = vec![authority.pem.clone().into_bytes()];
    });
    let (near, far) = duplex(1_000);
    let acceptor = TlsAcceptor::from(authority.server_config(&["mqtt"], |_| {}));
    let config = config(&options.tls.profile, None).await.unwrap();
    let name = options.tls.server_name.clone();
    let (client, server) = tokio::join!(handshake(config, name, near), acceptor.accept(far));
    let (mut client, _silent) = (client.unwrap(), server.unwrap());
    client.flush().await.unwrap();
    let mut taken = 0;
    poll_fn(|cx| {
        while let Poll::Ready(count) = Pin::new(&mut client).poll_write(cx, &[0; 1_000]) {
            taken += count.unwrap();
        }
        Poll::Ready(())
    })
    .await;
    assert!((16_000..20_000).contains(&taken), "{taken}");
}
