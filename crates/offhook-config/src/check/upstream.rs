//! `[tftp] upstream`: whether anything can be fetched from it, and kept.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use offhook_model::DomainName;

use super::Context;
use crate::read::{UpstreamFacts, format_size};
use crate::report::Problem;
use crate::{Code, Files, words};

pub(super) fn check(context: &Context<'_>, base: &Path, files: &dyn Files) {
    let Some(upstream) = context.facts.tftp.as_ref().and_then(|tftp| tftp.upstream.as_ref()) else {
        return;
    };
    host(context, upstream);
    authority(context, upstream, base, files);
    cache(context, upstream, base);
    let (file, cache) = upstream.sizes();
    if let Some(span) = [&upstream.file_size, &upstream.cache_size].into_iter().flatten().next()
        && file > cache
    {
        context.report.push(
            Problem::warning(
                Code::UpstreamSizes,
                &span.span,
                format!(
                    "files up to {} are fetched, and {} are kept in all",
                    format_size(file),
                    format_size(cache)
                ),
            )
            .label("larger files are fetched anew for every phone")
            .hint("make `cache_size` several times `upstream_file_size`"),
        );
    }
}

/// A host in our own zone has to be there; others are asked for when it is time.
fn host(context: &Context<'_>, upstream: &UpstreamFacts) {
    let Some(zone) = context.facts.site.zone.value() else { return };
    let host = upstream.server().host.as_str();
    if host.parse::<IpAddr>().is_ok() {
        return;
    }
    let name = match host.contains('.') {
        true => host.parse(),
        false => DomainName::qualify(host, zone),
    };
    let Ok(name) = name else { return };
    if !name.is_within(zone) || context.facts.names.knows(&name) {
        return;
    }
    let known: Vec<_> = context.facts.names.short().collect();
    let short = host.strip_suffix(zone.as_str()).and_then(|stem| stem.strip_suffix('.'));
    let hint = match words::nearest(short.unwrap_or(host), known) {
        Some(near) => format!("did you mean `{near}.{zone}`?"),
        None => "add a [[host]] with this name, or write an address".to_owned(),
    };
    context.report.push(
        Problem::error(
            Code::UpstreamUnresolvable,
            &upstream.url,
            format!("`{host}` has no address in the zone `{zone}`"),
        )
        .label("images cannot be fetched from there")
        .hint(hint),
    );
}

/// What is still being written there is for nobody.
fn cache(context: &Context<'_>, upstream: &UpstreamFacts, base: &Path) {
    let root = context.facts.tftp.as_ref().and_then(|tftp| tftp.root.good());
    let (Some(root), Some(cache)) = (root, upstream.cache.good()) else { return };
    let plain = |path: &str| -> PathBuf {
        base.join(path).components().filter(|part| *part != Component::CurDir).collect()
    };
    if plain(&cache.value).starts_with(plain(&root.value)) {
        context.report.push(
            Problem::error(
                Code::CacheInRoot,
                &cache.span,
                format!("the cache `{}` is in the TFTP root", cache.value),
            )
            .label("phones could ask for what is still being written")
            .related(&root.span, "the TFTP root")
            .hint("leave it out, or name a directory of its own"),
        );
    }
}

/// The certificates that are to vouch for the server.
fn authority(context: &Context<'_>, upstream: &UpstreamFacts, base: &Path, files: &dyn Files) {
    let Some(ca) = upstream.ca.good() else { return };
    if !upstream.server().secure {
        context.report.push(
            Problem::warning(
                Code::UpstreamUnused,
                &ca.span,
                "`upstream_ca` does nothing with an `http` URL",
            )
            .label("no certificate is looked at")
            .related(&upstream.url, "the images come from here")
            .hint("write https in `upstream`, or leave this out"),
        );
        return;
    }
    let (message, label) = match files.read(&base.join(&ca.value)) {
        Ok(bytes) if String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") => {
            return;
        }
        Ok(_) => (format!("`{}` holds no certificate", ca.value), "no PEM certificate in it"),
        Err(error) => (format!("cannot read `{}`: {error}", ca.value), "cannot be read"),
    };
    context.report.push(
        Problem::warning(Code::UpstreamCa, &ca.span, message)
            .label(label)
            .hint("nothing is fetched until the authority's certificate is there, in PEM form"),
    );
}
