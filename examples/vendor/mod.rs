//! What the examples of single carriers share: arguments, the choice between the carrier's test system and an imitation of it,
//! and the two things that each of them does.

mod output;

use std::error::Error;
use std::process::ExitCode;

use shipbound::binding::bearer::Bearer;
use shipbound::carriers::CarrierProfile;
use shipbound::client::{RequestBuilder, TenantClient};
use shipbound::clock::{Clock, SystemClock};
use shipbound::credentials::{Credential, MemoryCredentials};
use shipbound::keys::MemoryKeyStore;
use shipbound::owner::{Tenant, TenantId};
use shipbound::sandbox::Sandbox;
use shipbound::{Client, Parts};

use output::Output;

/// One API of a carrier, and what the example asks it.
pub(crate) struct Api {
    /// Its name for `--api`.
    pub(crate) name: &'static str,
    pub(crate) profile: CarrierProfile,
    pub(crate) variables: Variables,
    /// A call that costs nothing and changes nothing.
    pub(crate) question: for<'a> fn(&'a TenantClient) -> RequestBuilder<'a>,
}

/// The environment variables that hold the credential.
#[derive(Clone, Copy)]
pub(crate) struct Variables {
    /// The client id, or the name of a user. An API key has none.
    pub(crate) id: Option<&'static str>,
    pub(crate) secret: &'static str,
    /// What goes beside them: the name that the profile gives it, and the variable.
    pub(crate) parts: &'static [(&'static str, &'static str)],
}

impl Variables {
    fn all(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.parts.iter().map(|(_, variable)| *variable);
        self.id.into_iter().chain([self.secret]).chain(parts)
    }

    fn names(&self) -> String {
        self.all().collect::<Vec<_>>().join(", ")
    }

    /// The credential that they hold; `None` where none of them is set.
    ///
    /// # Errors
    /// The name of one that is not set beside others that are.
    fn read(&self) -> Result<Option<Credential>, String> {
        if self.all().all(|name| variable(name).is_none()) {
            return Ok(None);
        }
        let needed = |name: &str| variable(name).ok_or_else(|| format!("{name} is not set, and others are"));
        let secret = needed(self.secret)?;
        let mut credential = match self.id {
            Some(id) => Credential::new(needed(id)?, secret),
            None => Credential::api_key(secret),
        };
        for (part, name) in self.parts {
            credential = credential.with_part(part, needed(name)?);
        }
        Ok(Some(credential))
    }
}

#[expect(clippy::disallowed_methods, reason = "each example names its variables")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The day, as `YYYY-MM-DD`.
#[allow(dead_code, reason = "not every carrier is asked for a day")]
pub(crate) fn today() -> String {
    let now = SystemClock::new().now().to_string();
    now.chars().take(10).collect()
}

/// The whole of an example: reads its arguments, asks, prints. Exit status 0 only if the carrier took the credential and the
/// call.
pub(crate) async fn run<const APIS: usize>(example: &str, apis: [Api; APIS]) -> ExitCode {
    let usage = usage(example, &apis);
    let Some(arguments) = Arguments::read(apis.into()) else {
        eprint!("{usage}");
        return ExitCode::from(2);
    };
    if arguments.help {
        print!("{usage}");
        return ExitCode::SUCCESS;
    }
    match ask(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{example}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let api = arguments.api;
    let acme = TenantId::new("acme")?;
    let own = if arguments.wrong_key {
        None
    } else {
        api.variables.read()?
    };
    // With an imitation the profile differs in its hosts, and the transport in whom it trusts. Nothing else does.
    let parts = Parts::builder().keys(MemoryKeyStore::new());
    let (profile, credential, parts, imitation) = match own {
        Some(own) => (api.profile, own, parts, None),
        None => {
            let imitation = Sandbox::start().await?;
            let credential = imitation.credential_for(&api.profile, &acme);
            if arguments.wrong_key {
                // The carrier has given the shipper another since.
                imitation.rotate_secret(&acme);
            }
            let parts = parts.transport(imitation.transport()?);
            (imitation.profile(api.profile), credential, parts, Some(imitation))
        }
    };
    let credentials = MemoryCredentials::new();
    credentials.put(acme.clone(), profile.id(), profile.environment(), credential);
    let client = Client::builder(profile.clone(), &parts.credentials(credentials).build()?)
        .binding(Bearer)
        .build()?;

    let mut out = Output::new(arguments.json);
    out.carrier(&profile, imitation.is_some(), &api.variables.names());
    out.credential(&client.verify_credentials(&Tenant::from(acme.clone())).await);
    let answer = (api.question)(&client.for_tenant(acme)).send().await;
    out.call(&profile, answer.as_ref());
    out.look_up(profile.how_to_look_up());
    out.replacement(profile.how_to_replace());
    if let Some(imitation) = imitation {
        imitation.shutdown().await;
    }
    Ok(out.summary())
}

struct Arguments {
    api: Api,
    wrong_key: bool,
    json: bool,
    help: bool,
}

impl Arguments {
    /// The first API, unless another is named.
    fn read(apis: Vec<Api>) -> Option<Self> {
        use lexopt::prelude::{Long, Short, ValueExt};
        let (mut api, mut wrong_key, mut json, mut help) = (0, false, false, false);
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next().ok()? {
            match argument {
                Long("api") if apis.len() > 1 => {
                    let name = parser.value().ok()?.string().ok()?;
                    api = apis.iter().position(|api| api.name == name)?;
                }
                Long("wrong-key") => wrong_key = true,
                Long("json") => json = true,
                Long("help") | Short('h') => help = true,
                _ => return None,
            }
        }
        Some(Self {
            api: apis.into_iter().nth(api)?,
            wrong_key,
            json,
            help,
        })
    }
}

fn usage(example: &str, apis: &[Api]) -> String {
    let names: Vec<_> = apis.iter().map(|api| api.name).collect();
    let choice = match names.as_slice() {
        [_] => String::new(),
        names => format!("[--api {}] ", names.join("|")),
    };
    let mut text = format!(
        "usage: {example} {choice}[--wrong-key] [--json]\n\n\
         Tries a credential at the carrier's test system and makes one call that costs nothing. The credential is in\n"
    );
    for api in apis {
        text.push_str(&format!("  {}: {}\n", api.profile.name(), api.variables.names()));
    }
    text.push_str(
        "Without these an imitation on this machine is asked; --wrong-key asks that with a credential that has ended.\n\
         --json prints one JSON object a line, the last with \"ok\". Exit status: 0 if all went as it must, 1 if not, 2 for wrong usage.\n",
    );
    text
}
