//! Trust domains by another name: a principal of one of the mesh's trust domains stands for those of
//! all of them.

use meltemi_model::{Glob, MeshConfig, Wanted};

/// What a principal that is written for any mesh has as its trust domain.
const LOCAL: &str = "cluster.local";

/// The principals with the mesh's trust domain and its aliases.
pub(super) fn of_principals(mesh: &MeshConfig, wanted: &Wanted<Glob>) -> Wanted<Glob> {
    let domains = domains(mesh);
    let list = |values: &[Glob]| {
        values
            .iter()
            .flat_map(|it| principal(it, &domains))
            .collect()
    };
    Wanted {
        any_of: list(&wanted.any_of),
        none_of: list(&wanted.none_of),
    }
}

/// The trust domains, each of the mesh's with all of the mesh's.
pub(super) fn of_domains(mesh: &MeshConfig, wanted: &Wanted<Glob>) -> Wanted<Glob> {
    let domains = domains(mesh);
    let list = |values: &[Glob]| {
        let mut all: Vec<Glob> = Vec::new();
        for value in values {
            let mine = matches!(value, Glob::Exact(domain) if domains.contains(domain));
            let more = match mine {
                true => domains.iter().cloned().map(Glob::Exact).collect(),
                false => vec![value.clone()],
            };
            for glob in more {
                if !all.contains(&glob) {
                    all.push(glob);
                }
            }
        }
        all
    };
    Wanted {
        any_of: list(&wanted.any_of),
        none_of: list(&wanted.none_of),
    }
}

fn domains(mesh: &MeshConfig) -> Vec<String> {
    std::iter::once(&mesh.trust_domain)
        .chain(&mesh.trust_domain_aliases)
        .map(ToString::to_string)
        .collect()
}

fn principal(glob: &Glob, domains: &[String]) -> Vec<Glob> {
    let written = glob.to_string();
    let as_it_is = || vec![glob.clone()];
    // Only DOMAIN/ns/NAMESPACE/sa/ACCOUNT has a trust domain.
    let Some((domain, rest)) = written
        .split_once('/')
        .filter(|(domain, rest)| *domain != "*" && rest.split('/').count() == 4)
    else {
        return as_it_is();
    };
    let pattern = Glob::new(domain);
    let fits = |it: &String| match &pattern {
        Glob::Present => true,
        Glob::Suffix(end) => it.ends_with(end.as_str()),
        Glob::Prefix(beginning) => it.starts_with(beginning.as_str()),
        Glob::Exact(domain) => it == domain,
    };
    if domain != LOCAL && !domains.iter().any(fits) {
        return as_it_is();
    }
    let mut all: Vec<Glob> = Vec::new();
    for it in domains {
        // A domain that the end of one stands for is covered by what is written.
        let covered = matches!(&pattern, Glob::Suffix(end) if it.ends_with(end.as_str()));
        let new = match covered {
            true => glob.clone(),
            false => Glob::new(&format!("{it}/{rest}")),
        };
        if !all.contains(&new) {
            all.push(new);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_of_the_mesh_stand_for_all_of_its_trust_domains() {
        let domains = ["new", "old-td", "other-td"].map(str::to_owned);
        for (written, expected) in [
            (
                "new/ns/a/sa/b",
                "new/ns/a/sa/b old-td/ns/a/sa/b other-td/ns/a/sa/b",
            ),
            (
                "old-td/ns/a/sa/b",
                "new/ns/a/sa/b old-td/ns/a/sa/b other-td/ns/a/sa/b",
            ),
            (
                "cluster.local/ns/a/sa/*",
                "new/ns/a/sa/* old-td/ns/a/sa/* other-td/ns/a/sa/*",
            ),
            ("*-td/ns/a/sa/b", "new/ns/a/sa/b *-td/ns/a/sa/b"),
            ("*/ns/a/sa/b", "*/ns/a/sa/b"),
            ("elsewhere/ns/a/sa/b", "elsewhere/ns/a/sa/b"),
            ("new/sa/b", "new/sa/b"),
            ("*", "*"),
        ] {
            let made = principal(&Glob::new(written), &domains);
            let made: Vec<_> = made.iter().map(ToString::to_string).collect();
            assert_eq!(made.join(" "), expected, "{written}");
        }
    }
}
