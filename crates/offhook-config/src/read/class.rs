//! `[[class]]`, in the configuration and in the catalogue alike.

use offhook_model::{BootFields, Condition, Evidence, Origin, ScopeId, registry};

use super::lease::LeaseFacts;
use crate::Code;
use crate::names::Names;
use crate::options::{Explicit, Level};
use crate::report::{Problem, Span, Spanned};
use crate::tree::{Field, List, Table, Value};

/// What one `[[class]]` says; a key that is absent says nothing, and an earlier definition's holds.
#[derive(Clone)]
pub(crate) struct ClassFacts {
    pub(crate) name: Field<String>,
    pub(crate) label: Option<String>,
    pub(crate) vendor_class: Option<Vec<Evidence>>,
    pub(crate) vendor_class_prefix: Option<Vec<Evidence>>,
    pub(crate) vendor_class_enterprise: Option<Vec<Evidence>>,
    pub(crate) user_class: Option<Vec<Evidence>>,
    pub(crate) oui: Option<Vec<Evidence>>,
    pub(crate) inform_requests: Option<Vec<Evidence>>,
    /// The file, and the line that says so.
    pub(crate) firmware: Option<(Spanned<String>, Origin)>,
    pub(crate) gives: Option<Codes>,
    pub(crate) withholds: Option<Codes>,
    pub(crate) always: Option<Codes>,
    pub(crate) boot_header: Option<bool>,
    pub(crate) boot: BootFields,
    pub(crate) condition: Option<Condition>,
    pub(crate) scopes: Option<Vec<ScopeId>>,
    pub(crate) trailing_nul: Option<bool>,
    pub(crate) lease: LeaseFacts,
    pub(crate) options: Vec<Explicit>,
    pub(crate) span: Span,
    pub(crate) origin: Origin,
    /// Part of it could not be read: what it does not say means nothing.
    pub(crate) damaged: bool,
}

/// A list of option codes, and the line it stands on.
#[derive(Clone)]
pub(crate) struct Codes {
    pub(crate) codes: Vec<Spanned<u8>>,
    pub(crate) origin: Origin,
}

impl Codes {
    pub(crate) fn contains(&self, code: u8) -> bool {
        self.codes.iter().any(|c| c.value == code)
    }
}

/// What a class can be told to give: everything that follows from other facts.
pub(crate) const DERIVABLE: [u8; 5] = [43, 66, 67, 132, 160];
/// What there may be to send always though no `options` state it: facts of the site and the scope.
pub(crate) const STANDARD: [u8; 11] = [1, 2, 3, 4, 6, 15, 28, 42, 43, 100, 101];

impl ClassFacts {
    pub(crate) fn read(table: &Table<'_>, names: &Names, catalogue: &[ClassFacts]) -> Self {
        let damaged = std::cell::Cell::new(table.is_damaged());
        let evidence = |key, read: &dyn Fn(&Value<'_>) -> Option<Evidence>| {
            let field = table
                .field(key, |value| super::network::non_empty(value, value.one_or_many(read)?));
            if field.is_bad() || field.value().is_some_and(|list| !list.complete) {
                damaged.set(true);
            }
            let list: Option<List<Evidence>> = field.into_value();
            list.map(|list| list.items.into_iter().map(|item| item.value).collect::<Vec<_>>())
        };
        let codes = |key, allowed: &[u8]| {
            let field =
                table.field(key, |value| value.one_or_many(|item| option_code(item, allowed)));
            field.good().map(|list| Codes {
                codes: list.value.items.clone(),
                origin: table.report.origin(&list.span),
            })
        };
        // Options that the server computes are neither withheld nor asked for.
        let settable = |key| {
            let mut found = codes(key, &[]);
            if let Some(found) = &mut found {
                let is_own = |code: &Spanned<u8>| {
                    crate::options::is_own(table.report, code.value, &code.span)
                };
                found.codes.retain(|code| !is_own(code));
            }
            found
        };
        let name = table.required("name", "\"440HD\"", name);
        let label = table.field("label", Value::text).into_value();
        let condition = table.field("match", |value| super::condition::read(value, names));
        if condition.is_bad() {
            damaged.set(true);
        }
        let scopes = table.field("scopes", |value| {
            let scopes = value.one_or_many(|item| names.scope(item))?;
            let scopes = super::network::non_empty(value, scopes)?;
            scopes.complete.then(|| scopes.items.into_iter().map(|scope| scope.value).collect())
        });
        let facts = Self {
            label,
            vendor_class: evidence("vendor_class", &|v| bytes(v).map(Evidence::VendorClass)),
            vendor_class_prefix: evidence("vendor_class_prefix", &|v| {
                bytes(v).map(Evidence::VendorClassPrefix)
            }),
            vendor_class_enterprise: evidence("vendor_class_enterprise", &|v| {
                v.integer(1, u32::MAX.into())
                    .map(|enterprise| Evidence::VendorClassBinary { enterprise })
            }),
            user_class: evidence("user_class", &|v| bytes(v).map(Evidence::UserClass)),
            oui: evidence("oui", &|v| v.oui().map(Evidence::Oui)),
            inform_requests: evidence("inform_requests", &|v| {
                option_code(v, &[]).map(Evidence::InformRequests)
            }),
            firmware: table
                .field("firmware", firmware)
                .good()
                .map(|file| (file.clone(), table.report.origin(&file.span))),
            gives: codes("gives", &DERIVABLE),
            withholds: settable("withholds"),
            always: settable("always"),
            boot_header: table.field("boot_header", Value::boolean).into_value(),
            boot: super::boot::read(table, names),
            condition: condition.into_value(),
            scopes: scopes.into_value(),
            trailing_nul: table.field("trailing_nul", Value::boolean).into_value(),
            lease: LeaseFacts::read(table),
            options: super::options(table, "[[class]] options", Level::Phones, names),
            span: name.good().map_or_else(|| table.span.clone(), |name| name.span.clone()),
            origin: table.report.origin(&table.span),
            damaged: damaged.get(),
            name,
        };
        table.finish();
        facts.completed(catalogue)
    }

    /// Keys that are not stated are the catalogue's, when it has a class of this name.
    fn completed(self, catalogue: &[ClassFacts]) -> Self {
        let Some(base) = catalogue.iter().find(|base| base.is_named_as(&self)) else {
            return self;
        };
        let base = base.clone();
        let own: Vec<u8> = self.options.iter().map(|option| option.rule.code).collect();
        let mut options = self.options;
        options.extend(base.options.into_iter().filter(|o| !own.contains(&o.rule.code)));
        let name = match (self.name, base.name) {
            // The spelling of the catalogue, the place in the file.
            (Field::Good(own), Field::Good(base)) => {
                Field::Good(Spanned::new(base.value, own.span))
            }
            (own, _) => own,
        };
        Self {
            name,
            label: self.label.or(base.label),
            vendor_class: self.vendor_class.or(base.vendor_class),
            vendor_class_prefix: self.vendor_class_prefix.or(base.vendor_class_prefix),
            vendor_class_enterprise: self.vendor_class_enterprise.or(base.vendor_class_enterprise),
            user_class: self.user_class.or(base.user_class),
            oui: self.oui.or(base.oui),
            inform_requests: self.inform_requests.or(base.inform_requests),
            firmware: self.firmware.or(base.firmware),
            gives: self.gives.or(base.gives),
            withholds: self.withholds.or(base.withholds),
            always: self.always.or(base.always),
            boot_header: self.boot_header.or(base.boot_header),
            boot: super::boot::or(self.boot, base.boot),
            condition: self.condition.or(base.condition),
            scopes: self.scopes.or(base.scopes),
            trailing_nul: self.trailing_nul.or(base.trailing_nul),
            lease: self.lease.or(base.lease),
            options,
            span: self.span,
            origin: self.origin,
            damaged: self.damaged,
        }
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.value().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    pub(crate) fn is_named_as(&self, other: &Self) -> bool {
        other.name.value().is_some_and(|name| self.is_named(name))
    }

    /// Everything it is recognised by, in the order of the keys.
    pub(crate) fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        [
            &self.vendor_class,
            &self.vendor_class_prefix,
            &self.vendor_class_enterprise,
            &self.user_class,
            &self.oui,
            &self.inform_requests,
        ]
        .into_iter()
        .flatten()
        .flatten()
    }
}

/// Text, or bytes as `{ hex = "…" }`.
fn bytes(value: &Value<'_>) -> Option<Box<[u8]>> {
    if value.is_table() {
        return crate::options::hex_table(value).map(Vec::into_boxed_slice);
    }
    let text = value.text()?;
    Some(text.into_bytes().into_boxed_slice())
}

/// A name that `only` of a pool takes for the class's.
fn name(value: &Value<'_>) -> Option<String> {
    let name = value.text()?;
    if matches!(name.as_str(), "phones" | "inventory") {
        value.report.push(
            Problem::error(
                Code::BadChoice,
                &value.span,
                format!("`{name}` is no name for a class"),
            )
            .label("means something else in `only` of a pool")
            .hint("call it something else"),
        );
        return None;
    }
    Some(name)
}

/// An option by name or number.
pub(super) fn any_option(value: &Value<'_>) -> Option<u8> {
    option_code(value, &[])
}

/// An option by name or number; one of `allowed`, unless that is empty.
fn option_code(value: &Value<'_>, allowed: &[u8]) -> Option<u8> {
    let code = match value.as_integer() {
        Some(_) => value.integer(1, 254)?,
        None => {
            let text = value.string_for("a string or an integer that names an option", None)?;
            crate::options::code_of(value.report, &Spanned::new(text, value.span.clone()))?
        }
    };
    if !allowed.is_empty() && !allowed.contains(&code) {
        let names: Vec<_> = allowed
            .iter()
            .filter_map(|&code| registry::by_code(code))
            .map(|option| option.name)
            .collect();
        value.report.push(
            Problem::error(
                Code::NotDerivable,
                &value.span,
                format!("option {code} does not follow from other facts"),
            )
            .label("set it with a value")
            .hint(format!(
                "allowed here: {}; others go into `options` with their values",
                crate::words::list(names)
            )),
        );
        return None;
    }
    Some(code)
}

/// A file name inside the TFTP root.
fn firmware(value: &Value<'_>) -> Option<String> {
    value.name_below(
        "is not a file inside the TFTP root",
        "write a name relative to `[tftp] root`, without `..` or a leading `/`",
    )
}
