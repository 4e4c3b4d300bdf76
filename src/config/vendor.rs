//! Providers that have settings of their own, so that a key in the environment is enough.

use super::{Provider, ProviderKind, Settings};

impl Settings {
    /// Adds the providers that have settings of their own, unless the file names one of the same name.
    pub(super) fn add_vendors(&mut self) {
        let vendors = [
            (
                "anthropic",
                ProviderKind::Anthropic,
                &self.anthropic_base_url,
                &self.anthropic_api_key,
                &self.anthropic_models,
                true,
            ),
            ("openai", ProviderKind::OpenAi, &self.openai_base_url, &self.openai_api_key, &self.openai_models, true),
            ("local", ProviderKind::OpenAi, &self.local_model_url, &None, &self.local_models, self.local_tools),
        ];
        let mut found = Vec::new();
        for (name, kind, base_url, api_key, models, tools) in vendors {
            let is_set = base_url.is_some() || api_key.is_some();
            if is_set && !self.providers.iter().any(|provider| provider.name == name) {
                found.push(Provider {
                    name: name.to_owned(),
                    kind,
                    base_url: base_url.clone().unwrap_or_default(),
                    api_key_env: String::new(),
                    models: models.clone(),
                    fallback: Vec::new(),
                    tools,
                    api_key: api_key.clone(),
                });
            }
        }
        self.providers.extend(found);
    }
}
