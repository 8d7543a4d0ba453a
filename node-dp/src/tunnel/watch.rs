//! Notices that somebody else deleted the tunnel device or took it down, whichever implementation it is of.

use std::io;

use futures_util::StreamExt as _;
use rtnetlink::{
    MulticastGroup, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkFlags, LinkMessage},
    },
};
use tokio::{sync::watch, task::JoinHandle};

/// The task that listens for what happens to devices; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct LinkWatch {
    is_lost: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// What a message means for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing bad.
    Unharmed,
    /// It is gone, or carries nothing.
    Lost,
    /// The kernel had more to say than there was room for.
    Unknown,
}

impl LinkWatch {
    /// Watches the device of this index, in the network namespace of the calling thread, from before this returns.
    pub(super) fn start(index: u32) -> io::Result<Self> {
        let (connection, netlink, mut messages) =
            new_multicast_connection(&[MulticastGroup::Link])?;
        let (lost, is_lost) = watch::channel(false);
        let task = tokio::spawn(async move {
            let connection = tokio::spawn(connection);
            // It may have gone before anybody listened.
            let mut is_harmed = !is_up(&netlink, index).await;
            while !is_harmed {
                let Some((message, _)) = messages.next().await else {
                    break;
                };
                is_harmed = match fate(&message, index) {
                    Fate::Unharmed => false,
                    Fate::Lost => true,
                    Fate::Unknown => !is_up(&netlink, index).await,
                };
            }
            lost.send_replace(is_harmed);
            connection.abort();
        });
        Ok(Self { is_lost, task })
    }

    /// Ends once the device is gone or down. It is cancel safe.
    pub(super) async fn lost(&self) {
        let mut is_lost = self.is_lost.clone();
        if is_lost.wait_for(|is_lost| *is_lost).await.is_err() {
            // Nobody listens any more, so nobody knows.
            std::future::pending().await
        }
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn fate(message: &NetlinkMessage<RouteNetlinkMessage>, index: u32) -> Fate {
    if let NetlinkPayload::Overrun(_) = message.payload {
        return Fate::Unknown;
    }
    let NetlinkPayload::InnerMessage(message) = &message.payload else {
        return Fate::Unharmed;
    };
    let is_lost = if let RouteNetlinkMessage::DelLink(link) = message {
        link.header.index == index
    } else if let RouteNetlinkMessage::NewLink(link) = message {
        link.header.index == index && !has_up(link)
    } else {
        false
    };
    if is_lost { Fate::Lost } else { Fate::Unharmed }
}

async fn is_up(netlink: &rtnetlink::Handle, index: u32) -> bool {
    let mut found = netlink.link().get().match_index(index).execute().boxed();
    matches!(found.next().await, Some(Ok(link)) if has_up(&link))
}

fn has_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up)
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::NetlinkHeader;

    use super::*;

    #[test]
    fn a_device_is_lost_when_it_is_deleted_or_down_and_others_do_not_count() {
        for (message, fate_of_7) in [
            (RouteNetlinkMessage::DelLink(link(7, true)), Fate::Lost),
            (RouteNetlinkMessage::NewLink(link(7, false)), Fate::Lost),
            (RouteNetlinkMessage::NewLink(link(7, true)), Fate::Unharmed),
            (RouteNetlinkMessage::DelLink(link(8, true)), Fate::Unharmed),
            (RouteNetlinkMessage::NewLink(link(8, false)), Fate::Unharmed),
        ] {
            let payload = NetlinkPayload::InnerMessage(message);
            let message = NetlinkMessage::new(NetlinkHeader::default(), payload);

            assert_eq!(fate(&message, 7), fate_of_7, "{message:?}");
        }
    }

    fn link(index: u32, is_up: bool) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags.set(LinkFlags::Up, is_up);
        link
    }
}
