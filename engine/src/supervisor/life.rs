//! Attempt, link, and what lies between them, over and over.

use std::{
    collections::HashSet,
    future::{Future, pending},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    attempt::{Alpn, check, explain_road},
    retry::Retry,
};
use crate::{
    authorizer::Login,
    commands::Receiver,
    deadline::Deadline,
    error::{Code, Failure, Result, Stage},
    events::Events,
    link::{End, Link},
    options::{Level, Options},
    secrets::repeats,
    session::{Answer, Expiry, Session},
    transport::{self, Stream, Transport},
    wire::{ConnAck, Direction, Trace, Version, next_frame},
};

/// One connection, from its first attempt to its end. What it has, the supervisor settles.
pub(super) struct Life<'a, E> {
    options: Arc<Options>,
    session: &'a mut Session,
    commands: &'a mut Receiver,
    events: &'a mut E,
    retry: Retry,
    transport: Arc<Transport>,
    /// What the link, or the attempt for it, logs in with: no failure of it may repeat that.
    login: Option<Arc<Login>>,
    /// What looks suspicious about the attempt, or the link that it led to.
    warnings: Vec<String>,
    /// The kinds of warnings that the log has.
    warned: HashSet<String>,
    /// When the latest CONNECT was sent.
    connected_at: Option<Instant>,
    /// Whether the host believes that there is a connection.
    up: bool,
}

/// Why there is no link: an end that the host wants, or a failure.
enum Stop {
    End(End),
    Failure(Failure),
}

/// A link behind its CONNACK.
struct Opened {
    link: Box<Link<Stream>>,
    connack: ConnAck,
    alpn_protocol: Option<String>,
    expiry: Option<Expiry>,
}

impl<'a, E: Events> Life<'a, E> {
    pub(super) fn new(
        options: Arc<Options>,
        session: &'a mut Session,
        commands: &'a mut Receiver,
        events: &'a mut E,
    ) -> Self {
        Self {
            retry: Retry::new(&options),
            transport: Arc::new(Transport::new(options.clone())),
            login: None,
            warnings: options.warnings.clone(),
            warned: HashSet::new(),
            options,
            session,
            commands,
            events,
            connected_at: None,
            up: false,
        }
    }

    /// Lives until the host wants no connection any more, or no attempt is to follow.
    pub(super) async fn live(&mut self) -> End {
        let mut last: Option<Failure> = None;
        // Of a renewal, which has asked already.
        let mut answer: Option<Answer> = None;
        loop {
            let number = match answer {
                Some(_) => self.session.attempt(),
                None => self.session.begin_attempt(),
            };
            let opened = Box::pin(self.open(number, answer.take(), last.as_ref())).await;
            let next = match opened {
                Ok(opened) => {
                    last = None;
                    match self.follow(number, opened).await {
                        Followed::Renewed(renewed) => {
                            answer = renewed;
                            continue;
                        }
                        Followed::Lost(failure, next) => {
                            last = Some(failure);
                            next
                        }
                        Followed::Ended(end) => return end,
                    }
                }
                Err(Stop::End(end)) => return end,
                Err(Stop::Failure(_)) if self.session.is_disconnecting() => {
                    return End::Disconnected;
                }
                Err(Stop::Failure(failure)) => {
                    let failure = self.completed(failure);
                    let next = self
                        .retry
                        .after_failure(&failure)
                        .map(|next| self.spaced(next));
                    if next.is_some() && std::mem::take(&mut self.up) {
                        self.session.interrupted(self.events);
                        self.events.interrupted(&failure);
                    }
                    self.events.attempted(number, Some(&failure), next);
                    last = Some(failure);
                    next
                }
            };
            let (Some(delay), Some(failure)) = (next, &last) else {
                return last.map_or(End::Disconnected, End::Failed);
            };
            let message = format!("{failure}; next attempt in {} ms", delay.as_millis());
            self.events.log(Level::Warn, &message);
            self.events.flush();
            // In a box, which a connection that is up does without.
            if let Err(end) = Box::pin(self.wait(sleep(delay), |_| None)).await {
                return end;
            }
        }
    }

    /// Runs a link to its end.
    async fn follow(&mut self, number: u32, opened: Box<Opened>) -> Followed {
        let since = Instant::now();
        let mut link = self.begin(number, *opened, since);
        let end = link.run(self.session, self.commands, self.events).await;
        let closed_by_server = link.is_closed_by_server();
        let silent = closed_by_server && !link.is_told_why();
        drop(link);
        let now = Instant::now();
        match end {
            End::Renewing => {
                self.retry.after_renewal(now - since);
                let answer = self.session.take_answer().and_then(Result::ok);
                self.session.renewing(now, self.events);
                Followed::Renewed(answer)
            }
            End::Failed(_) if self.session.is_disconnecting() => Followed::Ended(End::Disconnected),
            End::Failed(failure) => {
                let mut failure = self.completed(failure);
                let lived = now - since;
                let silent = silent && failure.code() == Code::ConnectionLost;
                if silent && let Some((packet, action)) = self.session.unanswered() {
                    failure = denied(failure, &packet, &action);
                }
                // MQTT 5 has a reason code for what 3.1.1 leaves to be guessed.
                // What is cut with an operation on its way is rather cut for that.
                let silent = silent
                    && self.options.version == Version::V311
                    && !self.session.has_outstanding();
                let failure = self.retry.explain(failure, lived, silent);
                let next = self
                    .retry
                    .after_loss(&failure, lived)
                    .map(|next| self.spaced(next));
                if next.is_some() {
                    self.up = false;
                    self.session
                        .lost(&failure, closed_by_server, now, self.events);
                    self.events.interrupted(&failure);
                }
                Followed::Lost(failure, next)
            }
            end => Followed::Ended(end),
        }
    }

    /// Tells the session and the host that there is a link.
    fn begin(&mut self, number: u32, opened: Opened, now: Instant) -> Box<Link<Stream>> {
        let Opened {
            link,
            connack,
            alpn_protocol,
            expiry,
        } = opened;
        let connected = self.session.connected(&connack, alpn_protocol, expiry, now);
        self.retry.connected();
        self.up = true;
        self.events.attempted(number, None, None);
        self.events.connected(&connected);
        self.events.flush();
        link
    }

    /// One attempt: credentials, road, CONNECT, CONNACK.
    async fn open(
        &mut self,
        number: u32,
        answer: Option<Answer>,
        last: Option<&Failure>,
    ) -> std::result::Result<Box<Opened>, Stop> {
        let options = self.options.clone();
        self.warnings.clone_from(&options.warnings);
        self.warn();
        let (login, expiry) = match answer {
            Some(Answer { login, expiry }) => (login, expiry),
            None => self.credentials(number, last).await?,
        };
        self.login = Some(login.clone());
        self.warnings.extend(login.warnings_at(SystemTime::now()));
        self.warn();
        let Options {
            client_id, version, ..
        } = &*options;
        let through = match &options.proxy {
            Some(proxy) => format!(" through the proxy {proxy}"),
            None => String::new(),
        };
        self.log(
            Level::Info,
            &format!(
                "connecting to {}{through} as {client_id:?} over {version}, attempt {number}",
                options.authority()
            ),
        );
        let deadline = Deadline::of_attempt(&options);
        let road = self.transport.clone();
        let opening = Box::pin(road.open(login.upgrade.as_ref(), &deadline));
        let stream = self
            .wait(opening, |_| None)
            .await?
            .map_err(|failure| explain_road(failure, &login, &options, SystemTime::now()))?;
        self.log(Level::Debug, &transport::describe(&stream));
        let alpn = Alpn::of(&stream, &options);
        let connect = self.session.connect(&login)?;
        self.connected_at = Some(Instant::now());
        let arrived = transport::arrived(&stream);
        let mut link = Box::new(Link::new(stream, &options));
        if let Some(arrived) = arrived {
            link.watch(arrived);
        }
        if self.session.logs(Level::Trace)
            && let Ok(Some(frame)) = next_frame(&connect, usize::MAX)
        {
            self.events.traced(&Trace::of(Direction::Sent, &frame));
        }
        let connecting = deadline.within(Stage::Connack, link.connect(&connect, &options));
        let answered = self.wait(Box::pin(connecting), |_| None).await?;
        if self.session.logs(Level::Trace)
            && let Some(answer) = link.answer()
        {
            self.events.traced(&answer);
        }
        let mut connack = answered
            .and_then(|connack| check(&connack, &options).map(|()| connack))
            .map_err(|failure| {
                let waited = self.connected_at.map_or(Duration::ZERO, |at| at.elapsed());
                alpn.explain(failure, &login, &options, waited, SystemTime::now())
            })?;
        connack.reason_string.take_if(|words| {
            let secrets = login.secrets();
            secrets.iter().any(|secret| repeats(words, secret))
        });
        self.log(Level::Info, "connected");
        self.log(Level::Debug, &format!("CONNACK: {connack:?}"));
        Ok(Box::new(Opened {
            link,
            connack,
            alpn_protocol: alpn.protocol,
            expiry,
        }))
    }

    /// What this attempt logs in with: asked anew each time where the host wants to be asked.
    async fn credentials(
        &mut self,
        number: u32,
        last: Option<&Failure>,
    ) -> std::result::Result<(Arc<Login>, Option<Expiry>), Stop> {
        if !self.options.asks_credentials() {
            return Ok((self.options.login.clone(), None));
        }
        self.session.ask(number, last, self.events);
        self.events.flush();
        let options = self.options.clone();
        let timeout = options.credentials_timeout;
        let answer = async {
            sleep(timeout).await;
            Err(options.unanswered())
        };
        let answer = self.wait(answer, Session::take_answer).await?;
        // Where it did not answer.
        self.session.stop_asking(self.events);
        let Answer { login, expiry } = answer?;
        Ok((login, expiry))
    }

    /// Waits until `waiting` is done or `ready` gives something, and takes meanwhile what the host asks for. It may ask
    /// for the end.
    async fn wait<T>(
        &mut self,
        waiting: impl Future<Output = T>,
        ready: impl Fn(&mut Session) -> Option<T>,
    ) -> std::result::Result<T, End> {
        let mut waiting = pin!(waiting);
        loop {
            let deadline = self.session.next_deadline();
            let deadline = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                batch = self.commands.recv() => {
                    let Some(batch) = batch else {
                        return Err(End::Abandoned);
                    };
                    let now = Instant::now();
                    for command in batch {
                        self.session.command(command, now, self.events);
                    }
                    self.session.show(now);
                    self.events.flush();
                    // During a renewal the next link says goodbye, if it comes in time.
                    if self.session.is_disconnecting() && !(self.up && self.session.is_renewing()) {
                        return Err(End::Disconnected);
                    }
                    if let Some(ready) = ready(self.session) {
                        return Ok(ready);
                    }
                }
                done = &mut waiting => return Ok(done),
                () = deadline => {
                    let now = Instant::now();
                    self.session.expire(now, self.events);
                    self.events.flush();
                    if self.session.is_disconnect_due(now) {
                        return Err(End::Disconnected);
                    }
                }
            }
        }
    }

    /// A failure with what looked suspicious before it, and without the words of a server that repeats what it was sent.
    fn completed(&self, failure: Failure) -> Failure {
        let failure = failure.with_warnings(&self.warnings);
        match &self.login {
            Some(login) if failure.cause().or(failure.reason_string()).is_some() => {
                failure.without(&login.secrets())
            }
            _ => failure,
        }
    }

    /// The delay, or a longer one where two CONNECTs would follow too closely.
    fn spaced(&self, delay: Duration) -> Duration {
        let interval = self.options.limits.connect_interval;
        let earliest = self.connected_at.map(|at| at + interval);
        earliest.map_or(delay, |earliest| {
            delay.max(earliest.saturating_duration_since(Instant::now()))
        })
    }

    /// Tells each kind of warning once: an attempt follows the other, and most of them have the same.
    fn warn(&mut self) {
        for warning in &self.warnings {
            if self.warned.insert(kind(warning)) {
                self.events.warned(warning);
            }
        }
        self.events.flush();
    }

    fn log(&mut self, level: Level, message: &str) {
        self.events.log(level, message);
        self.events.flush();
    }
}

/// What follows a link.
enum Followed {
    /// Another one at once, with these credentials where the host was asked.
    Renewed(Option<Answer>),
    /// Another one after this time, or none.
    Lost(Failure, Option<Duration>),
    Ended(End),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// A close in answer to something: IoT Core denies so.
fn denied(failure: Failure, packet: &str, action: &str) -> Failure {
    failure
        .adding(&format!(" while {packet} was unanswered"))
        .with_hint(format!(
            "IoT Core closes the connection for what the authorizer's policy does not allow: here that would be {action}. Next likely: a topic below `$` that may not be used, a limit that is exceeded, or another connection with the same client id."
        ))
}

/// What a warning is about, whatever its numbers and names are now: a JWT's age grows from attempt to attempt. A warning
/// begins with its option; what stands in quotes is left out, and what follows the first number.
fn kind(warning: &str) -> String {
    let mut kind = String::new();
    let mut letters = warning.chars();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => drop(letters.next()),
            _ if quoted => {}
            '0'..='9' => break,
            _ => kind.push(letter),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_stays_of_its_kind_whatever_its_numbers_and_names_are() {
        let expired = |since: &str| format!("password is a JWT that expired {since} ago");
        assert_eq!(kind(&expired("4 seconds")), kind(&expired("2 hours")));
        assert_ne!(
            kind(&expired("4 seconds")),
            kind("tokenValue is a JWT that expired 4 seconds ago")
        );
        assert_eq!(kind(r#"a "b\"7" c 1 d"#), "a  c ");
        assert_ne!(kind(r#"a "7" c"#), kind(r#"a "7" d"#));
    }
}
