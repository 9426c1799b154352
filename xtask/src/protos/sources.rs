//! Where the `.proto` files are: fetches the registry crates that ship them and names, in order of
//! precedence, the trees to look in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The crates that ship the files, pinned so that the result is reproducible.
const CRATES: [(&str, &str); 3] = [
    ("envoy-types", "0.7.7"),
    ("data-plane-api", "0.1.1"),
    ("opentelemetry-proto", "0.33.1"),
];

/// What `data-plane-api` has and the newer `envoy-types` lacks.
const FILES_OF_DATA_PLANE_API: [&str; 11] = [
    "udpa/type/v1/typed_struct.proto",
    "xds/core/v3/resource.proto",
    "xds/core/v3/resource_name.proto",
    "xds/data/orca/v3/orca_load_report.proto",
    "xds/service/orca/v3/orca.proto",
    "xds/type/matcher/v3/cel.proto",
    "xds/type/matcher/v3/domain.proto",
    "xds/type/matcher/v3/http_inputs.proto",
    "xds/type/matcher/v3/ip.proto",
    "xds/type/v3/range.proto",
    "xds/type/v3/typed_struct.proto",
];

/// The OTLP collector services; profiles are still in development.
const FILES_OF_OPENTELEMETRY: [&str; 3] = [
    "opentelemetry/proto/collector/logs/v1/logs_service.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
];

/// A directory that imports are relative to.
pub struct ProtoTree {
    directory: PathBuf,
    wanted: Wanted,
}

enum Wanted {
    Everything,
    Files(&'static [&'static str]),
}

impl ProtoTree {
    /// The import names of the files to compile from this tree, besides what they import.
    pub fn roots(&self) -> anyhow::Result<BTreeSet<String>> {
        match self.wanted {
            Wanted::Files(files) => Ok(files.iter().map(|&file| file.to_owned()).collect()),
            Wanted::Everything => {
                let mut names = BTreeSet::new();
                collect(&self.directory, &self.directory, &mut names)?;
                Ok(names)
            }
        }
    }

    /// Where the file of this import name would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Fetches the crates and lists the trees; the first tree that has a file wins.
pub fn locate(workspace: &Path) -> anyhow::Result<Vec<ProtoTree>> {
    let crates = fetch(&workspace.join("target/protos"))?;
    let of = |name: &str| {
        crates
            .get(name)
            .with_context(|| format!("cargo did not fetch {name}"))
    };
    let everything = |directory: PathBuf| ProtoTree {
        directory,
        wanted: Wanted::Everything,
    };

    let envoy = of("envoy-types")?.join("proto");
    let data_plane_api = of("data-plane-api")?;
    let mut trees = vec![
        everything(workspace.join("crates/shared/xds/proto")),
        ProtoTree {
            directory: of("opentelemetry-proto")?.join("src/proto/opentelemetry-proto"),
            wanted: Wanted::Files(&FILES_OF_OPENTELEMETRY),
        },
    ];
    for part in [
        "data-plane-api",
        "xds",
        "cel-spec/proto",
        "client_model",
        "googleapis",
        "opentelemetry-proto",
        "protoc-gen-validate",
        "ratelimit",
    ] {
        trees.push(everything(envoy.join(part)));
    }
    trees.push(ProtoTree {
        directory: data_plane_api.join("xds"),
        wanted: Wanted::Files(&FILES_OF_DATA_PLANE_API),
    });
    for tree in &trees {
        ensure!(
            tree.directory.is_dir(),
            "no directory {}",
            tree.directory.display()
        );
    }
    Ok(trees)
}

/// Has cargo fetch the crates through a package made for it; answers with their directories.
fn fetch(package: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut manifest = String::from(
        "[package]\nname = \"protos\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n",
    );
    for (name, version) in CRATES {
        manifest.push_str(&format!(
            "{name} = {{ version = \"={version}\", default-features = false }}\n"
        ));
    }
    std::fs::create_dir_all(package.join("src"))?;
    std::fs::write(package.join("Cargo.toml"), manifest)?;
    std::fs::write(package.join("src/lib.rs"), "")?;

    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;

    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut directories = BTreeMap::new();
    for package in packages {
        let (Some(name), Some(manifest)) =
            (package["name"].as_str(), package["manifest_path"].as_str())
        else {
            continue;
        };
        if CRATES.iter().any(|(wanted, _)| *wanted == name)
            && let Some(directory) = Path::new(manifest).parent()
        {
            directories.insert(name.to_owned(), directory.to_path_buf());
        }
    }
    Ok(directories)
}

fn collect(base: &Path, directory: &Path, names: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(base, &path, names)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            let name = path
                .strip_prefix(base)?
                .to_str()
                .context("a file name that is not UTF-8")?;
            names.insert(name.to_owned());
        }
    }
    Ok(())
}
