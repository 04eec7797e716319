//! The process's surroundings as far as they decide defaults: variables, and who runs it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Environment variables and identity; tests make their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The variables; those that are not UTF-8 are left out.
    pub variables: BTreeMap<String, String>,
    /// Whether the effective user is root.
    pub is_root: bool,
    /// The machine's name, as far as it is UTF-8.
    pub host_name: Option<String>,
}

impl Environment {
    /// This process's.
    pub fn current() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let host_name = nix::unistd::gethostname().ok().and_then(|n| n.into_string().ok());
        Self { variables, is_root: nix::unistd::geteuid().is_root(), host_name }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        // Relative ones are to be ignored, says the XDG base directory specification.
        self.get(name).map(PathBuf::from).filter(|p| p.is_absolute())
    }

    /// systemd's `$STATE_DIRECTORY`; the first of several.
    pub fn state_directory(&self) -> Option<PathBuf> {
        let first = self.get("STATE_DIRECTORY")?.split(':').next()?;
        Some(PathBuf::from(first)).filter(|p| p.is_absolute())
    }

    /// Where things go that can be made again: systemd's `$CACHE_DIRECTORY` (the first of several),
    /// or a user's own cache. None: beside the state.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        let ours = self.get("CACHE_DIRECTORY").and_then(|dirs| dirs.split(':').next());
        let ours = ours.map(PathBuf::from).filter(|p| p.is_absolute());
        let own = self.path("XDG_CACHE_HOME");
        let home = self.path("HOME").filter(|_| !self.is_root).map(|home| home.join(".cache"));
        ours.or_else(|| own.or(home).map(|dir| dir.join("slmd")))
    }

    /// Where state goes when nothing says so: `/var/lib/slmd`, or a user's own state directory.
    pub fn default_state_dir(&self) -> Option<PathBuf> {
        if self.is_root {
            return Some("/var/lib/slmd".into());
        }
        self.path("XDG_STATE_HOME")
            .or_else(|| Some(self.path("HOME")?.join(".local/state")))
            .map(|dir| dir.join("slmd"))
    }

    /// Where the socket is when nothing says so: `/run/slmd/slmd.sock`, also for systemd's
    /// service user; for a user's own run in the session's runtime directory.
    pub fn default_socket(&self) -> PathBuf {
        let system = self.is_root || self.get("RUNTIME_DIRECTORY").is_some();
        match self.path("XDG_RUNTIME_DIR") {
            Some(dir) if !system => dir.join("slmd/slmd.sock"),
            _ => "/run/slmd/slmd.sock".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(is_root: bool, variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|&(k, v)| (k.into(), v.into())).collect();
        Environment { variables, is_root, host_name: None }
    }

    #[test]
    fn root_and_users_have_their_own_places() {
        let root = environment(true, &[("XDG_STATE_HOME", "/x"), ("XDG_RUNTIME_DIR", "/r")]);
        assert_eq!(root.default_state_dir(), Some("/var/lib/slmd".into()));
        assert_eq!(root.default_socket(), PathBuf::from("/run/slmd/slmd.sock"));
        let user = environment(false, &[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/9")]);
        assert_eq!(user.default_state_dir(), Some("/home/u/.local/state/slmd".into()));
        assert_eq!(user.default_socket(), PathBuf::from("/run/user/9/slmd/slmd.sock"));
        let own = environment(false, &[("XDG_STATE_HOME", "/s"), ("HOME", "/home/u")]);
        assert_eq!(own.default_state_dir(), Some("/s/slmd".into()));
        assert_eq!(environment(false, &[("XDG_STATE_HOME", "rel")]).default_state_dir(), None);
    }

    #[test]
    fn systemd_says_where_state_goes() {
        let service = environment(false, &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]);
        assert_eq!(service.state_directory(), Some("/var/lib/a".into()));
        let cache = |is_root, variables: &[_]| environment(is_root, variables).cache_dir();
        let all = [("CACHE_DIRECTORY", "/c/a:/c/b"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(cache(false, &all), Some("/c/a".into()));
        assert_eq!(cache(true, &all[1..]), Some("/x/slmd".into()));
        assert_eq!(cache(false, &all[2..]), Some("/h/.cache/slmd".into()));
        assert_eq!(cache(true, &all[2..]), None);
    }
}
