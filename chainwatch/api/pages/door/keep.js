// What a device keeps over a restart, in IndexedDB: its enrolment and manifests, scans to send, conflicts it was told.

const STORES = ["state", "queue", "conflicts", "manifests"];

let opened;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("chainwatch-door", 1);
    request.onupgradeneeded = () => STORES.forEach((name) => request.result.createObjectStore(name));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function run(store, mode, act) {
  const database = await open();
  return new Promise((resolve, reject) => {
    // Strict: a scan that was shown is on the disk, also when the battery ends now.
    const transaction = database.transaction(store, mode, { durability: "strict" });
    const request = act(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

export const get = (store, key) => run(store, "readonly", (s) => s.get(key));
export const put = (store, key, value) => run(store, "readwrite", (s) => s.put(value, key));
export const drop = (store, key) => run(store, "readwrite", (s) => s.delete(key));
export const all = (store) => run(store, "readonly", (s) => s.getAll());
export const clear = (store) => run(store, "readwrite", (s) => s.clear());
export const forget = async () => {
  for (const name of STORES) await clear(name);
};
