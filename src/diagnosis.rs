//! A diagnosis: what is seen on the way to the endpoint, told part by part.

use std::{cell::RefCell, panic::RefUnwindSafe, sync::Arc, time::SystemTime};

use engine::{
    Code, ConnectOptions, Credentials, Failure, Login, Options, Passage, Probes, Stage, diagnose,
};
use napi::{
    Either, Status,
    bindgen_prelude::Function,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;
use tokio::sync::Notify;

use crate::{
    failure::{NativeFailure, internal},
    options::{NativeCredentials, NativeOptions},
    runtime::runtime,
};

/// One that has not begun yet: first comes the answer of `credentials()`, where the app has that.
#[napi(js_name = "NativeDiagnosis")]
pub struct NativeDiagnosis {
    options: Arc<Options>,
    probes: Arc<Probes>,
    /// `None`: the app is still to be asked.
    identity: RefCell<Option<engine::Result<Identity>>>,
    stop: Arc<Notify>,
}

/// What is logged in with.
struct Identity {
    credentials: Credentials,
    login: Login,
}

#[napi(object, object_to_js = false)]
pub struct NativeProbes {
    /// Why CONNECT is not sent; absent where it is.
    pub skip_connect: Option<String>,
    pub keep_session: bool,
    pub topic: Option<String>,
    pub publish: bool,
}

/// What is known of the login without being told what is secret in it.
#[napi(object, object_from_js = false)]
pub struct NativeLogin {
    pub authorizer_name: Option<String>,
    pub username: Option<String>,
    pub has_password: bool,
    pub has_token: bool,
    pub warnings: Vec<String>,
}

/// A token as it is sent, the signature in base64.
#[napi(object, object_from_js = false)]
pub struct NativeSignedToken {
    pub value: String,
    pub signature: String,
}

/// A part of the way, or with the name `end` that there is no more.
#[napi(object, object_from_js = false)]
pub struct NativePassage {
    pub name: &'static str,
    pub took_ms: f64,
    pub seen: Vec<String>,
    pub failure: Option<NativeFailure>,
    /// The failure is a refusal, and what was refused may be a login.
    pub refused: bool,
    pub skipped: Option<String>,
}

type Report = ThreadsafeFunction<NativePassage, (), NativePassage, Status, false>;

/// Prepares a diagnosis. A failure is one of the options.
#[napi(js_name = "diagnose", catch_unwind)]
pub fn prepare(
    options: NativeOptions,
    probes: NativeProbes,
) -> Either<NativeDiagnosis, NativeFailure> {
    match checked(options, probes) {
        Ok(diagnosis) => Either::A(diagnosis),
        Err(failure) => Either::B(failure.into()),
    }
}

fn checked(options: NativeOptions, probes: NativeProbes) -> engine::Result<NativeDiagnosis> {
    let options = ConnectOptions::try_from(options)?;
    let credentials = (!options.asks_credentials).then(|| options.credentials.clone());
    let mut options = options.validate()?;
    options.client_id_made_up = !probes.keep_session;
    options.will = None;
    let probes = Probes {
        skip_connect: probes.skip_connect,
        keep_session: probes.keep_session,
        topic: probes.topic,
        publish: probes.publish,
    };
    probes.check(&options)?;
    let identity = match credentials {
        None => None,
        Some(credentials) => {
            let login = options.login_with(&credentials)?;
            Some(Ok(Identity { credentials, login }))
        }
    };
    Ok(NativeDiagnosis {
        options: Arc::new(options),
        probes: Arc::new(probes),
        identity: RefCell::new(identity),
        stop: Arc::new(Notify::new()),
    })
}

#[napi]
impl NativeDiagnosis {
    #[napi(getter, catch_unwind)]
    pub fn client_id(&self) -> String {
        self.options.client_id.clone()
    }

    #[napi(getter, catch_unwind)]
    pub fn credentials_timeout_ms(&self) -> f64 {
        self.options.credentials_timeout.as_secs_f64() * 1_000.0
    }

    /// What the app's function answered.
    #[napi(catch_unwind)]
    pub fn credentials(&self, attempt: u32, answer: NativeCredentials) {
        let answered = self.options.answered(attempt, answer.try_into());
        self.identity.replace(Some(
            answered.map(|(credentials, login)| Identity { credentials, login }),
        ));
    }

    /// The same where there are none.
    #[napi(catch_unwind)]
    pub fn credentials_failed(&self, _attempt: u32, message: String) {
        let failure = Failure::new(Code::Credentials, Stage::Credentials, message);
        self.identity.replace(Some(Err(failure)));
    }

    #[napi(catch_unwind)]
    pub fn credentials_overdue(&self) {
        self.identity.replace(Some(Err(self.options.unanswered())));
    }

    /// Why there is nothing to log in with.
    #[napi(getter, catch_unwind)]
    pub fn credentials_failure(&self) -> Option<NativeFailure> {
        match &*self.identity.borrow() {
            Some(Err(failure)) => Some(failure.into()),
            _ => None,
        }
    }

    #[napi(getter, catch_unwind)]
    pub fn login(&self) -> NativeLogin {
        let mut warnings = self.options.warnings.clone();
        let identity = self.identity.borrow();
        let Some(Ok(Identity { credentials, login })) = &*identity else {
            return NativeLogin {
                authorizer_name: None,
                username: None,
                has_password: false,
                has_token: false,
                warnings,
            };
        };
        warnings.extend(login.warnings_at(SystemTime::now()));
        NativeLogin {
            authorizer_name: credentials.authorizer_name.clone(),
            username: credentials.username.clone(),
            has_password: login.password.is_some(),
            has_token: credentials.token().is_ok_and(|token| token.is_some()),
            warnings,
        }
    }

    #[napi(getter, catch_unwind)]
    pub fn signed_token(&self) -> Option<NativeSignedToken> {
        let identity = self.identity.borrow();
        let identity = identity.as_ref()?.as_ref().ok()?;
        let token = identity.credentials.token().ok()??;
        Some(NativeSignedToken {
            value: token.value.to_owned(),
            signature: token.signature,
        })
    }

    /// Begins; `on_passage` hears of it until its end. It is begun once, after the credentials are there.
    #[napi(catch_unwind)]
    pub fn start(
        &self,
        signature_is_verified: bool,
        on_passage: Function<'_, NativePassage, ()>,
    ) -> napi::Result<Option<NativeFailure>> {
        // Keeps the process alive until the end was told.
        let report: Report = on_passage
            .build_threadsafe_function::<NativePassage>()
            .callee_handled::<false>()
            .build()?;
        Ok(self
            .walk(signature_is_verified, Arc::new(report))
            .err()
            .map(NativeFailure::from))
    }

    /// Ends it, whenever that is; what was begun at the server is taken back. The end is told as ever.
    #[napi(catch_unwind)]
    pub fn stop(&self) {
        self.stop.notify_one();
    }
}

impl NativeDiagnosis {
    fn walk(&self, signature_is_verified: bool, report: Arc<Report>) -> engine::Result<()> {
        let runtime =
            runtime().map_err(|error| internal("the network thread cannot be started", error))?;
        let Some(Ok(Identity { mut login, .. })) = self.identity.take() else {
            let message = "a diagnosis began without credentials";
            return Err(Failure::new(Code::Internal, Stage::Operation, message));
        };
        if signature_is_verified {
            login.signature_is_verified();
        }
        let options = self.options.clone();
        let probes = self.probes.clone();
        let stop = self.stop.clone();
        let request = options.websocket.as_ref();
        let carries_login = request.is_none_or(|request| request.carries_login());
        let watching = report.clone();
        let watched = async move {
            let mut witness = |passage| tell(&watching, passage, carries_login);
            diagnose(options, &login, &probes, stop.notified(), &mut witness).await
        };
        runtime.spawn(async move {
            let failure = match tokio::spawn(watched).await {
                Ok(outcome) => outcome.err(),
                Err(_panic) => {
                    let message = "the diagnosis broke off";
                    Some(Failure::new(Code::Internal, Stage::Operation, message))
                }
            };
            tell(
                &report,
                Passage {
                    failure,
                    ..Passage::of("end", Vec::new())
                },
                carries_login,
            );
        });
        Ok(())
    }
}

fn tell(report: &Report, passage: Passage, carries_login: bool) {
    let passage = NativePassage {
        name: passage.name,
        took_ms: passage.took.as_secs_f64() * 1_000.0,
        seen: passage.seen,
        refused: carries_login && passage.failure.as_ref().is_some_and(Failure::is_refusal),
        failure: passage.failure.map(NativeFailure::from),
        skipped: passage.skipped,
    };
    // An environment that is going away has nobody left to hear.
    let _status = report.call(passage, ThreadsafeFunctionCallMode::NonBlocking);
}

/// What nobody waits for any more, its environment gone, ends.
impl Drop for NativeDiagnosis {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// No call leaves anything half done: what is borrowed is read or replaced as a whole.
impl RefUnwindSafe for NativeDiagnosis {}
