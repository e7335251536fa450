//! What lies in a folder that should hold a checkpoint.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use armilla_vla::GoalPolicy;
use armilla_world::WorldModel;

/// Refuses a folder that is no policy's checkpoint, and says what it is. What is wrong within one, loading says.
pub(crate) fn expect_policy(folder: &Path) -> Result<()> {
    expect_checkpoint(folder)?;
    let shown = folder.display();
    ensure!(
        !WorldModel::is_in(folder),
        "{shown}: expected a policy, found a world model, which `armilla eval --planner` plans in"
    );
    ensure!(
        !GoalPolicy::is_in(folder),
        "{shown}: expected a policy that needs no goal picture, found goal-conditioned cloning, which `armilla eval --policy` alone takes"
    );
    Ok(())
}

/// Refuses a folder that is no world model's checkpoint, and says what it is. What is wrong within one, loading says.
pub(crate) fn expect_world_model(folder: &Path) -> Result<()> {
    expect_checkpoint(folder)?;
    let config = fs::read_to_string(folder.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    if let Some(kind) = config["type"].as_str() {
        let shown = folder.display();
        bail!(
            "{shown}: expected a world model, found a policy ({kind}), which `armilla eval --policy` takes"
        );
    }
    Ok(())
}

/// Refuses what is no checkpoint's folder, and leads from a run to its last one.
fn expect_checkpoint(folder: &Path) -> Result<()> {
    let shown = folder.display();
    ensure!(
        folder.is_dir(),
        "{shown}: expected a checkpoint's folder, or OWNER/NAME on the hub, found neither"
    );
    let inside = [folder.join("checkpoints/last/model"), folder.join("model")];
    let inside = inside.iter().find(|inside| inside.is_dir());
    match inside.filter(|_| !folder.join("config.json").exists()) {
        Some(inside) => bail!(
            "{shown}: expected a checkpoint's folder, found a run's; the model is in {}",
            inside.display()
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_checkpoint_of_a_kind_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let said = |found: Result<()>| found.unwrap_err().to_string();
        let with = |config: &str| fs::write(root.join("config.json"), config).unwrap();
        assert!(said(expect_policy(&root.join("none"))).contains("found neither"));
        assert!(expect_policy(root).is_ok());
        with("{\"kind\": \"world_model\"}");
        assert!(said(expect_policy(root)).contains("eval --planner"));
        assert!(expect_world_model(root).is_ok());
        with("{\"type\": \"act\"}");
        assert!(said(expect_world_model(root)).contains("a policy (act)"));
        assert!(expect_policy(root).is_ok());
        with("{\"type\": \"armilla_goal\"}");
        assert!(said(expect_policy(root)).contains("cloning"));
        fs::remove_file(root.join("config.json")).unwrap();
        let last = root.join("checkpoints/last/model");
        fs::create_dir_all(&last).unwrap();
        for found in [expect_policy(root), expect_world_model(root)] {
            assert!(said(found).contains(&last.display().to_string()));
        }
    }
}
