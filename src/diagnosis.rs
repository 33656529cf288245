//! A diagnosis: what is seen on the way to the endpoint, told part by part.

use std::{sync::Arc, time::SystemTime};

use engine::{Code, ConnectOptions, Failure, Passage, Probes, Stage, diagnose};
use napi::{
    Either, Status,
    bindgen_prelude::Function,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;

use crate::{
    failure::{NativeFailure, internal},
    options::NativeOptions,
    runtime::runtime,
};

#[napi(object, object_to_js = false)]
pub struct NativeProbes {
    /// Why CONNECT is not sent; absent where it is.
    pub skip_connect: Option<String>,
    pub keep_session: bool,
    pub topic: Option<String>,
    pub publish: bool,
    /// The token's signature was checked with the authorizer's public key.
    pub signature_verified: bool,
}

/// What is known before anything was sent.
#[napi(object, object_from_js = false)]
pub struct NativeDiagnosis {
    pub client_id: String,
    pub warnings: Vec<String>,
}

/// A part of the way, or with the name `end` that there is no more.
#[napi(object, object_from_js = false)]
pub struct NativePassage {
    pub name: &'static str,
    pub took_ms: f64,
    pub seen: Vec<String>,
    pub failure: Option<NativeFailure>,
    pub skipped: Option<String>,
}

type Report = ThreadsafeFunction<NativePassage, (), NativePassage, Status, false>;

/// Begins a diagnosis; `on_passage` hears of it until its end. A failure is one of the options.
#[napi(js_name = "diagnose", catch_unwind)]
pub fn begin(
    options: NativeOptions,
    probes: NativeProbes,
    on_passage: Function<'_, NativePassage, ()>,
) -> napi::Result<Either<NativeDiagnosis, NativeFailure>> {
    // Keeps the process alive until the end was told.
    let report: Report = on_passage
        .build_threadsafe_function::<NativePassage>()
        .callee_handled::<false>()
        .build()?;
    Ok(match start(options, probes, report) {
        Ok(diagnosis) => Either::A(diagnosis),
        Err(failure) => Either::B(failure.into()),
    })
}

fn start(
    options: NativeOptions,
    probes: NativeProbes,
    report: Report,
) -> engine::Result<NativeDiagnosis> {
    let mut options = ConnectOptions::try_from(options)?;
    options.credentials.signature_verified = probes.signature_verified;
    let options = options.validate()?;
    let probes = Probes {
        skip_connect: probes.skip_connect,
        keep_session: probes.keep_session,
        topic: probes.topic,
        publish: probes.publish,
    };
    probes.check(&options)?;
    let runtime =
        runtime().map_err(|error| internal("the network thread cannot be started", error))?;
    let mut warnings = options.warnings.clone();
    warnings.extend(options.login.warnings_at(SystemTime::now()));
    let diagnosis = NativeDiagnosis {
        client_id: options.client_id.clone(),
        warnings,
    };
    let options = Arc::new(options);
    let report = Arc::new(report);
    let watching = report.clone();
    let watched =
        async move { diagnose(options, &probes, &mut |passage| tell(&watching, passage)).await };
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
        );
    });
    Ok(diagnosis)
}

fn tell(report: &Report, passage: Passage) {
    let passage = NativePassage {
        name: passage.name,
        took_ms: passage.took.as_secs_f64() * 1_000.0,
        seen: passage.seen,
        failure: passage.failure.map(NativeFailure::from),
        skipped: passage.skipped,
    };
    // An environment that is going away has nobody left to hear.
    let _status = report.call(passage, ThreadsafeFunctionCallMode::NonBlocking);
}
