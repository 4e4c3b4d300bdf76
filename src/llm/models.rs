//! The models on offer, and the door to them: one stream of pieces, whoever answers.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use async_stream::try_stream;
use futures_util::stream::BoxStream;
use tracing::warn;

use super::{
    echo::{self, Echo},
    failure::Failure,
    piece::Piece,
    prompt::Prompt,
    provider::{self, Provider},
    settings::{Settings, SettingsError},
};

/// Characters of a model's id at most; none of them is a control character.
const MAX_ID: usize = 128;

/// An answer as it comes. Dropping it cancels the call; after an error nothing follows.
pub type PieceStream = BoxStream<'static, Result<Piece, Failure>>;

/// A model that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// `provider/model`, or `echo`.
    pub id: String,
    /// The name of the provider; of `echo`, its own.
    pub provider: String,
}

/// All configured models. Cheap to clone.
#[derive(Clone)]
pub struct Models {
    providers: Arc<[Arc<Provider>]>,
    default_model: String,
    echo_interval: Duration,
}

/// Who may answer a call, by the id of the model.
struct Candidate {
    id: String,
    engine: Engine,
}

enum Engine {
    Echo { interval: Duration },
    Provider { provider: Arc<Provider>, model: String },
}

enum Answer {
    Echo(Echo),
    Provider(Box<provider::Answer>),
}

impl Models {
    /// Checks the settings and gets every provider ready. Nothing is sent to them.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let mut names = HashSet::from([echo::ID.to_owned()]);
        let mut providers = Vec::with_capacity(settings.providers.len());
        for config in settings.providers {
            if config.name.is_empty() || config.name.contains('/') || !names.insert(config.name.clone()) {
                return Err(config.error("name", &config.name, "a name of its own, without a slash, and not echo"));
            }
            providers.push(Arc::new(Provider::new(config)?));
        }
        let mut models = Self {
            default_model: echo::ID.to_owned(),
            providers: providers.into(),
            echo_interval: settings.echo_interval,
        };
        models.check_fallbacks()?;
        models.default_model = match settings.default_model {
            Some(model) if models.knows(&model) => model,
            Some(model) => return Err(models.unknown_default(model)),
            None => models.first_with_key().unwrap_or(models.default_model),
        };
        Ok(models)
    }

    /// Every model on offer, `echo` last.
    pub fn list(&self) -> Vec<ModelInfo> {
        let listed = self.providers.iter().flat_map(|provider| {
            let config = provider.config();
            let info = |model| ModelInfo { id: format!("{}/{model}", config.name), provider: config.name.clone() };
            config.models.iter().map(info)
        });
        listed.chain([ModelInfo { id: echo::ID.to_owned(), provider: echo::ID.to_owned() }]).collect()
    }

    /// The model of conversations that name none.
    pub fn default_model(&self) -> &str {
        &self.default_model
    }

    /// Whether `model` can be asked: it is listed, or its provider lists none and so accepts any of at most 128 characters.
    pub fn knows(&self, model: &str) -> bool {
        self.candidate(model).is_some()
    }

    /// Whether `model` can be offered tools.
    pub fn takes_tools(&self, model: &str) -> bool {
        self.candidate(model).is_some_and(|candidate| match candidate.engine {
            Engine::Echo { .. } => true,
            Engine::Provider { provider, .. } => provider.config().tools,
        })
    }

    /// Asks `model`. The call begins when the stream is first polled.
    ///
    /// Until the first visible piece, failures are met with retries and then with the fallbacks of the model's
    /// provider; from there on a failure ends the stream, and what came before it stands.
    pub fn stream(&self, model: &str, prompt: Prompt) -> PieceStream {
        let candidates = self.candidates(model);
        let model = model.to_owned();
        Box::pin(try_stream! {
            let (id, mut answer) = begin(model, candidates, &prompt).await?;
            yield Piece::Model(id);
            while let Some(piece) = answer.next().await? {
                yield piece;
            }
        })
    }

    /// The model itself, then the fallbacks of its provider.
    fn candidates(&self, model: &str) -> Vec<Candidate> {
        let Some(asked) = self.candidate(model) else { return Vec::new() };
        let fallbacks = match &asked.engine {
            Engine::Echo { .. } => Vec::new(),
            Engine::Provider { provider, .. } => {
                let others = provider.config().fallback.iter().filter(|id| *id != model);
                others.filter_map(|id| self.candidate(id)).collect()
            }
        };
        std::iter::once(asked).chain(fallbacks).collect()
    }

    fn candidate(&self, id: &str) -> Option<Candidate> {
        if id.chars().count() > MAX_ID || id.contains(char::is_control) {
            return None;
        }
        if id == echo::ID {
            return Some(Candidate { id: id.to_owned(), engine: Engine::Echo { interval: self.echo_interval } });
        }
        let (name, model) = id.split_once('/')?;
        let provider = self.providers.iter().find(|provider| provider.config().name == name)?;
        let listed = &provider.config().models;
        let offered = if listed.is_empty() { !model.is_empty() } else { listed.iter().any(|listed| listed == model) };
        offered.then(|| {
            let engine = Engine::Provider { provider: Arc::clone(provider), model: model.to_owned() };
            Candidate { id: id.to_owned(), engine }
        })
    }

    fn check_fallbacks(&self) -> Result<(), SettingsError> {
        for config in self.providers.iter().map(|provider| provider.config()) {
            if let Some(unknown) = config.fallback.iter().find(|id| !self.knows(id)) {
                return Err(config.error(
                    "fallback",
                    unknown,
                    "the id of a configured model, such as openai/gpt or echo",
                ));
            }
        }
        Ok(())
    }

    fn first_with_key(&self) -> Option<String> {
        let mut configs = self.providers.iter().map(|provider| provider.config());
        let config = configs.find(|config| config.api_key.is_some() && !config.models.is_empty())?;
        Some(format!("{}/{}", config.name, config.models.first()?))
    }

    fn unknown_default(&self, model: String) -> SettingsError {
        let known: Vec<String> = self.list().into_iter().map(|model| model.id).collect();
        let wanted = format!("a configured model: {}", known.join(", "));
        SettingsError { setting: "default model".to_owned(), value: model, wanted }
    }
}

/// The first of the candidates that begins an answer.
///
/// When none does, the failure of the model that was asked for is the one to tell. When it refuses what is asked, that is
/// final, since others would be asked the same; a fallback that refuses is merely no help.
async fn begin(model: String, candidates: Vec<Candidate>, prompt: &Prompt) -> Result<(String, Answer), Failure> {
    let mut asked = None;
    for candidate in candidates {
        match candidate.engine.begin(prompt).await {
            Ok(answer) => return Ok((candidate.id, answer)),
            Err(failure) if asked.is_none() && !failure.falls_back() => return Err(failure),
            Err(failure) => {
                warn!(model.id = %candidate.id, error.kind = failure.kind(), "model gave no answer");
                asked.get_or_insert(failure);
            }
        }
    }
    Err(asked.unwrap_or(Failure::UnknownModel(model)))
}

impl fmt::Debug for Models {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Models").field("default_model", &self.default_model).finish_non_exhaustive()
    }
}

impl Engine {
    async fn begin(&self, prompt: &Prompt) -> Result<Answer, Failure> {
        match self {
            Self::Echo { interval } => Ok(Answer::Echo(Echo::answer(prompt, *interval))),
            Self::Provider { provider, model } => Ok(Answer::Provider(Box::new(provider.begin(model, prompt).await?))),
        }
    }
}

impl Answer {
    async fn next(&mut self) -> Result<Option<Piece>, Failure> {
        match self {
            Self::Echo(echo) => Ok(echo.next().await),
            Self::Provider(answer) => answer.next().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::settings::{Kind, ProviderConfig, Secret},
        *,
    };

    fn local() -> ProviderConfig {
        ProviderConfig { base_url: "http://localhost:1/v1".into(), ..ProviderConfig::new("local", Kind::OpenAi) }
    }

    fn keyed() -> ProviderConfig {
        ProviderConfig {
            api_key: Some(Secret::new("k")),
            models: vec!["large".into(), "small".into()],
            ..ProviderConfig::new("acme", Kind::Anthropic)
        }
    }

    fn models(providers: Vec<ProviderConfig>, default_model: Option<&str>) -> Result<Models, SettingsError> {
        Models::new(Settings { providers, default_model: default_model.map(str::to_owned), ..Settings::default() })
    }

    #[test]
    fn a_model_is_known_by_list_or_by_a_provider_that_lists_none() {
        let models = models(vec![local(), keyed()], None).unwrap();
        for known in ["echo", "local/anything/at:all", "acme/small"] {
            assert!(models.knows(known), "{known}");
        }
        assert!(models.knows(&format!("local/{}", "ä".repeat(122))));
        let long = format!("local/{}", "x".repeat(123));
        for unknown in ["", "acme", "acme/huge", "local/", "other/large", "local/a\0", "local/a\nb", &long] {
            assert!(!models.knows(unknown), "{unknown}");
        }
        let ids: Vec<String> = models.list().into_iter().map(|model| model.id).collect();
        assert_eq!(ids, ["acme/large", "acme/small", "echo"]);
        assert_eq!(models.default_model(), "acme/large");
    }

    #[test]
    fn a_wrong_setting_names_itself() {
        let refused = |providers, default| models(providers, default).err().unwrap().to_string();
        assert!(refused(vec![local(), local()], None).starts_with("provider local: name \"local\":"));
        assert!(refused(vec![], Some("acme/large")).starts_with("default model \"acme/large\":"));
        let bad_url = ProviderConfig { base_url: "localhost:80".into(), ..local() };
        assert!(refused(vec![bad_url], None).starts_with("provider local: base_url \"localhost:80\":"));
        let bad_fallback = ProviderConfig { fallback: vec!["acme/x".into()], ..local() };
        assert!(refused(vec![bad_fallback], None).starts_with("provider local: fallback \"acme/x\":"));
        let bad_key = ProviderConfig { api_key: Some(Secret::new("a\nb")), ..local() };
        assert!(!refused(vec![bad_key], None).contains("a\nb"));
    }
}
