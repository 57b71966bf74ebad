//! PKCS#11 modules: each is loaded and initialised once in a process, whoever uses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::failure::{Fault, Pkcs11Failure};

/// The library, once it is loaded. `C_Initialize` is not to be called by two threads at once.
type Module = Arc<Mutex<Option<Pkcs11>>>;

/// By path, the links in it followed. A module is never unloaded and never finalised: other parts of the process may use it.
static MODULES: Mutex<BTreeMap<PathBuf, Module>> = Mutex::new(BTreeMap::new());

/// The module at this path, initialised. Blocks.
pub(super) fn initialised(path: &Path) -> Result<Pkcs11, Fault> {
    let path = path
        .canonicalize()
        .map_err(|_not_there| Fault::Failed(Pkcs11Failure::Module))?;
    let module = {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(modules.entry(path.clone()).or_default())
    };
    let mut module = module.lock().unwrap_or_else(PoisonError::into_inner);
    let library = match &*module {
        Some(library) => library.clone(),
        None => Pkcs11::new(&path)?,
    };
    let library = module.insert(library);
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(library.clone()),
        Err(_any) => Err(Fault::Failed(Pkcs11Failure::Module)),
    }
}
