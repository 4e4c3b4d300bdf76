//! From the settings to the models' own.

use crate::{
    config::{Provider, ProviderKind, Settings},
    llm,
};

/// What the models are built from.
pub(super) fn settings(settings: &Settings) -> llm::Settings {
    llm::Settings {
        providers: settings.providers.iter().map(|provider| config(provider, settings)).collect(),
        default_model: settings.default_model.clone(),
        echo_interval: settings.echo_interval,
    }
}

fn config(provider: &Provider, settings: &Settings) -> llm::ProviderConfig {
    let kind = match provider.kind {
        ProviderKind::Anthropic => llm::Kind::Anthropic,
        ProviderKind::OpenAi => llm::Kind::OpenAi,
    };
    let mut config = llm::ProviderConfig::new(&provider.name, kind);
    if !provider.base_url.is_empty() {
        config.base_url = provider.base_url.clone();
    }
    config.api_key = provider.api_key.as_ref().map(|key| llm::Secret::new(key.reveal()));
    config.models = provider.models.clone();
    config.version = settings.anthropic_version.clone();
    config.fallback = provider.fallback.clone();
    config.max_output_tokens = settings.max_output_tokens;
    config.timers = llm::Timers {
        connect: settings.provider_connect_timeout,
        first_piece: settings.provider_first_piece_timeout,
        silence: settings.provider_silence_timeout,
        total: settings.provider_total_timeout,
    };
    config.tools = provider.tools;
    config.retries = settings.provider_retries;
    config.breaker_failures = settings.provider_breaker_failures;
    config.breaker_open = settings.provider_breaker_open;
    config
}
