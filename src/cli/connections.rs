//! `connections get`, `list`, `summary` and `history`. `watch` has its own file.

mod filter;
mod show;
mod watch;

use clap::{Args, Subcommand};
use cleat::proto;

use self::filter::{Filter, When};
use super::args::Output;
use super::client::{PAGE_ROWS, Realm, Top, rows};
use super::print;

#[derive(Subcommand)]
pub(super) enum Connections {
    /// Show one connection.
    Get(One),
    /// List connections.
    List(List),
    /// Count connections, by status and by platform.
    Summary(Many),
    /// Show the events that named a connection, the newest first, each with the state after it.
    History(One),
    /// Show changes as they happen, until interrupted.
    Watch(watch::Watch),
}

#[derive(Args)]
pub(super) struct One {
    /// Fasten's `org_connection_id`.
    id: String,
    #[command(flatten)]
    realm: Realm,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    top: Top,
}

#[derive(Args)]
pub(super) struct Many {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    realm: Realm,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Connections {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Get(one) => one.get().await,
            Self::List(list) => list.run().await,
            Self::Summary(many) => many.summary().await,
            Self::History(one) => one.history().await,
            Self::Watch(watch) => watch.run().await,
        }
    }
}

impl One {
    async fn get(self) -> anyhow::Result<()> {
        let request = proto::GetConnectionRequest {
            tenant: self.realm.tenant(),
            api_mode: self.realm.api_mode(),
            org_connection_id: self.id,
            ..proto::GetConnectionRequest::default()
        };
        let response = self.realm.connection_client().await?.get_connection(request).await?.into_inner();
        print::one("cleat.v1.Connection", &response.connection.unwrap_or_default(), self.output, show::facts)
    }

    async fn history(self) -> anyhow::Result<()> {
        let mut client = self.realm.connection_client().await?;
        let request = proto::ListConnectionEventsRequest {
            tenant: self.realm.tenant(),
            api_mode: self.realm.api_mode(),
            org_connection_id: self.id,
            page_size: PAGE_ROWS,
            ..proto::ListConnectionEventsRequest::default()
        };
        let all = rows(None, async |page_token| {
            let request = proto::ListConnectionEventsRequest { page_token, ..request.clone() };
            let page = client.list_connection_events(request).await?.into_inner();
            Ok((page.events, page.next_page_token))
        });
        print::many("cleat.v1.ConnectionEvent", &all.await?, self.output, &show::EVENT_HEADER, show::event)
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let Self { many: Many { filter, when, realm, output }, top } = self;
        let mut client = realm.connection_client().await?;
        let request = proto::ListConnectionsRequest {
            tenant: realm.tenant(),
            api_mode: realm.api_mode(),
            filter: Some(when.into_proto(filter)),
            page_size: top.page_size(),
            order_by: top.order_by,
            ..proto::ListConnectionsRequest::default()
        };
        let all = rows(top.limit, async |page_token| {
            let request = proto::ListConnectionsRequest { page_token, ..request.clone() };
            let page = client.list_connections(request).await?.into_inner();
            Ok((page.connections, page.next_page_token))
        });
        print::many("cleat.v1.Connection", &all.await?, output, &show::HEADER, show::row)
    }
}

impl Many {
    async fn summary(self) -> anyhow::Result<()> {
        let request = proto::SummarizeConnectionsRequest {
            tenant: self.realm.tenant(),
            api_mode: self.realm.api_mode(),
            filter: Some(self.when.into_proto(self.filter)),
            ..proto::SummarizeConnectionsRequest::default()
        };
        let summary = self.realm.connection_client().await?.summarize_connections(request).await?.into_inner();
        print::one("cleat.v1.SummarizeConnectionsResponse", &summary, self.output, show::summary)
    }
}
