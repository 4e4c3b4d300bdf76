//! From the settings to the tools' own.

use crate::{
    config::{BuiltInTool, McpServer, Settings},
    tools,
};

/// What the tools are built from.
pub(super) fn settings(settings: &Settings) -> tools::Settings {
    tools::Settings {
        built_in: settings.tools.iter().map(|tool| built_in(*tool)).collect(),
        servers: settings.mcp_servers.iter().map(server).collect(),
        timeout: settings.tool_timeout,
        max_result_bytes: settings.tool_result_bytes,
    }
}

fn built_in(tool: BuiltInTool) -> tools::BuiltIn {
    match tool {
        BuiltInTool::TimeNow => tools::BuiltIn::TimeNow,
        BuiltInTool::Calculator => tools::BuiltIn::Calculator,
    }
}

fn server(server: &McpServer) -> tools::Server {
    let door = if server.url.is_empty() {
        let environment = server.environment.iter();
        tools::Door::Process {
            command: server.command.clone(),
            arguments: server.args.clone(),
            environment: environment.map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        }
    } else {
        let bearer = server.bearer.as_ref().map(|bearer| bearer.reveal().to_owned());
        tools::Door::Http { url: server.url.clone(), bearer }
    };
    tools::Server { name: server.name.clone(), door }
}
