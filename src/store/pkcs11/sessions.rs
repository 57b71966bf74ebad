//! Sessions of one token: few, made when they are needed, made anew when the token has forgotten them.
//!
//! Calls of PKCS#11 block, for ever where a token hangs, so each goes onto a blocking thread with a permit that comes back when
//! the call has really ended. Callers wait for it as long as their limit says; a token that hangs costs as many threads as there
//! are permits, and no more.

use std::fmt;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::TokenName;
use super::failure::{Fault, Pkcs11Failure};
use super::module;
use crate::clock::{Clock, within};
use crate::crypto;
use crate::secret::TokenPin;

/// The sessions of one token.
pub(super) struct Sessions(Arc<Inner>);

struct Inner {
    module: PathBuf,
    token: TokenName,
    limit: Duration,
    clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
    /// Who opens a session, one at a time: C_Initialize and C_Login are not for two at once.
    opening: Mutex<()>,
    state: Mutex<State>,
}

struct State {
    pin: TokenPin,
    /// The token did not take this PIN.
    pin_refused: bool,
    idle: Vec<Session>,
    place: Option<(Pkcs11, Slot)>,
    /// How often sessions were given up: handles of objects are good within one generation.
    generation: u64,
    failure: Option<Pkcs11Failure>,
}

/// What a job has to work with.
pub(super) struct At<'a> {
    pub(super) session: &'a Session,
    pub(super) generation: u64,
    /// Whether this is the second try, after sessions were made anew in the middle of the first.
    pub(super) again: bool,
}

impl Sessions {
    pub(super) fn new(
        module: PathBuf,
        token: TokenName,
        pin: TokenPin,
        most: usize,
        limit: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            module,
            token,
            limit,
            clock,
            permits: Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))),
            opening: Mutex::default(),
            state: Mutex::new(State {
                pin,
                pin_refused: false,
                idle: Vec::new(),
                place: None,
                generation: 0,
                failure: None,
            }),
        }))
    }

    pub(super) fn set_pin(&self, pin: TokenPin) {
        let mut state = self.0.lock();
        state.pin = pin;
        state.pin_refused = false;
    }

    pub(super) fn failure(&self) -> Option<Pkcs11Failure> {
        self.0.lock().failure
    }

    /// Runs `job` on a session, twice where the first one was not good any more. What nobody waits for when it is there is
    /// given to `unwanted`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl Fn(&At<'_>) -> Result<T, Fault> + Send + 'static,
        unwanted: impl Fn(&At<'_>) + Send + 'static,
    ) -> Result<T, Fault> {
        let inner = &self.0;
        let outcome = inner.run(job, unwanted).await;
        inner.lock().failure = match &outcome {
            Err(Fault::Failed(failure)) => Some(*failure),
            _ => None,
        };
        outcome
    }
}

impl Inner {
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl Fn(&At<'_>) -> Result<T, Fault> + Send + 'static,
        unwanted: impl Fn(&At<'_>) + Send + 'static,
    ) -> Result<T, Fault> {
        let deadline = self.clock.monotonic() + self.limit;
        let runtime = Handle::try_current().map_err(|_none| Fault::Failed(Pkcs11Failure::Device))?;
        let permit = within(&*self.clock, deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let Some(Ok(permit)) = permit else {
            return Err(Fault::Failed(Pkcs11Failure::Busy));
        };
        let (send, outcome) = oneshot::channel();
        let inner = Arc::clone(self);
        let _not_waited_for = runtime.spawn_blocking(move || {
            let _until_it_ends = permit;
            if !send.is_closed() {
                inner.call(&job, &unwanted, send);
            }
        });
        match within(&*self.clock, deadline, outcome).await {
            Some(Ok(outcome)) => outcome,
            // The job panicked.
            Some(Err(_closed)) => Err(Fault::Failed(Pkcs11Failure::Device)),
            None => Err(Fault::Failed(Pkcs11Failure::Late)),
        }
    }

    fn call<T>(
        &self,
        job: &impl Fn(&At<'_>) -> Result<T, Fault>,
        unwanted: &impl Fn(&At<'_>),
        send: oneshot::Sender<Result<T, Fault>>,
    ) {
        let mut outcome = Err(Fault::Stale);
        for again in [false, true] {
            let (session, generation) = match self.session() {
                Ok(opened) => opened,
                Err(fault) => {
                    outcome = Err(fault);
                    break;
                }
            };
            let at = At {
                session: &session,
                generation,
                again,
            };
            outcome = job(&at);
            match &outcome {
                Ok(_) => {
                    if let Err(Ok(_)) = send.send(outcome) {
                        unwanted(&at);
                    }
                    return self.give_back(session, generation);
                }
                Err(Fault::Stale) => self.give_up(generation),
                // An operation that failed may still be active in its session, which goes with it.
                Err(_) => break,
            }
        }
        let outcome = match outcome {
            Err(Fault::Stale) => Err(Fault::Failed(Pkcs11Failure::Device)),
            other => other,
        };
        let _nobody_waits = send.send(outcome);
    }

    /// An idle session, or a new one.
    fn session(&self) -> Result<(Session, u64), Fault> {
        let idle = |state: &mut State| state.idle.pop().map(|session| (session, state.generation));
        if let Some(held) = idle(&mut self.lock()) {
            return Ok(held);
        }
        let _alone = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        match self.open() {
            // The module was finalised, or the token moved to another slot: looked for once more.
            Err(Fault::Stale) => {
                self.lock().place = None;
                self.open()
            }
            outcome => outcome,
        }
        .map_err(|fault| match fault {
            Fault::Stale => Fault::Failed(Pkcs11Failure::Token),
            other => other,
        })
    }

    fn open(&self) -> Result<(Session, u64), Fault> {
        let (place, generation, pin) = {
            let state = self.lock();
            if state.pin_refused {
                return Err(Fault::Failed(Pkcs11Failure::Pin));
            }
            (state.place.clone(), state.generation, state.pin.clone())
        };
        let (module, slot) = match place {
            Some(place) => place,
            None => {
                let module = module::initialised(&self.module)?;
                let slot = self.slot(&module)?;
                self.lock().place = Some((module.clone(), slot));
                (module, slot)
            }
        };
        let session = module.open_rw_session(slot)?;
        match session.login(UserType::User, Some(&AuthPin::from(pin.expose()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok((session, generation)),
            Err(error) => {
                let fault = Fault::from(error);
                let mut state = self.lock();
                // Somebody may have set another one meanwhile.
                let same = crypto::constant_time_eq(state.pin.expose().as_bytes(), pin.expose().as_bytes());
                state.pin_refused |= same && fault == Fault::Failed(Pkcs11Failure::Pin);
                Err(fault)
            }
        }
    }

    /// The one slot with the token of this name.
    fn slot(&self, module: &Pkcs11) -> Result<Slot, Fault> {
        let mut found = None;
        for slot in module.get_slots_with_token()? {
            // A token that was taken away in this moment is not the one.
            let Ok(token) = module.get_token_info(slot) else {
                continue;
            };
            let fits = match &self.token {
                TokenName::Label(label) => token.label() == label,
                TokenName::Serial(serial) => token.serial_number() == serial,
            };
            if fits && found.replace(slot).is_some() {
                return Err(Fault::Failed(Pkcs11Failure::Token));
            }
        }
        found.ok_or(Fault::Failed(Pkcs11Failure::Token))
    }

    fn give_back(&self, session: Session, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation {
            state.idle.push(session);
        }
    }

    /// Sessions of this generation are not used any more.
    fn give_up(&self, generation: u64) {
        let given_up = {
            let mut state = self.lock();
            if state.generation != generation {
                return;
            }
            state.generation += 1;
            state.place = None;
            mem::take(&mut state.idle)
        };
        drop(given_up);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    /// Closing a session blocks, too.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let idle = mem::take(&mut state.idle);
        if let Ok(runtime) = Handle::try_current()
            && !idle.is_empty()
        {
            let _not_waited_for = runtime.spawn_blocking(|| drop(idle));
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("token", &self.0.token)
            .field("limit", &self.0.limit)
            .finish_non_exhaustive()
    }
}
