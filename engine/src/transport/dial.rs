//! A name and a port to a TCP connection.

use std::{io, net::SocketAddr};

use tokio::net::{TcpStream, lookup_host};

use crate::{
    deadline::Deadline,
    error::{Code, Failure, Result, Stage},
};

/// Connects to the first address of `host` that answers.
pub(super) async fn dial(host: &str, port: u16, deadline: &Deadline) -> Result<TcpStream> {
    let addresses = deadline.within(Stage::Dns, resolve(host, port)).await?;
    deadline
        .within(Stage::Tcp, connect_first(&addresses, host, port))
        .await
}

async fn connect_first(addresses: &[SocketAddr], host: &str, port: u16) -> Result<TcpStream> {
    let mut refusals = Vec::new();
    for address in addresses {
        match connect(*address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refusals.push(format!("{address}: {error}")),
        }
    }
    Err(Failure::new(
        Code::Tcp,
        Stage::Tcp,
        format!(
            "no TCP connection to {host}:{port}: {}",
            refusals.join("; ")
        ),
    ))
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let failure = |cause: String| {
        Failure::new(
            Code::Dns,
            Stage::Dns,
            format!("the name {host} does not resolve: {cause}"),
        )
    };
    let addresses: Vec<SocketAddr> = lookup_host((host, port))
        .await
        .map_err(|error| failure(error.to_string()))?
        .collect();
    if addresses.is_empty() {
        return Err(failure("it has no address".to_owned()));
    }
    Ok(addresses)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Packets are gathered before they are written; waiting for more would only delay them.
    stream.set_nodelay(true)?;
    Ok(stream)
}
