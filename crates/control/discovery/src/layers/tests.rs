#![allow(clippy::unwrap_used)]

use meltemi_model::{MeshConfig, Metadata, ServiceAccount};

use super::*;

fn account(label: &str) -> Arc<Config> {
    let mut meta = Metadata::named("web", "shop");
    meta.annotations.insert("from".to_owned(), label.to_owned());
    Arc::new(Config::ServiceAccount(ServiceAccount { meta }))
}

#[test]
fn the_highest_layer_counts_and_lower_ones_come_back() {
    let mut layers = Layers::default();
    let id = account("").id();
    let (files, program) = (account("files"), account("program"));
    let steps = [
        (Layer::Files, Some(files.clone()), Some(files.clone())),
        (Layer::Program, Some(program.clone()), Some(program.clone())),
        (Layer::Files, Some(account("newer")), Some(program)),
        (Layer::Files, Some(files.clone()), None),
    ];
    for (layer, config, expected) in steps.into_iter().take(3) {
        assert_eq!(layers.set(layer, &id, config), expected);
    }
    assert_eq!(
        layers.set(Layer::Program, &id, None),
        Some(account("newer"))
    );
    assert_eq!(layers.ids(Layer::Files).len(), 1);
    assert_eq!(layers.set(Layer::Files, &id, None), None);
    assert!(layers.ids(Layer::Files).is_empty());
    let base = Arc::new(Config::MeshConfig(Box::default()));
    assert_eq!(MeshConfig::default().meta.name, base.meta().name);
}
