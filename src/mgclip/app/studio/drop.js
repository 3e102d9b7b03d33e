// The drop zone. Images and folders are listed at once and then uploaded. The value of the component is "uploading" until all are
// uploaded, then a JSON list of {path, group, place}: the uploaded file, the name of its class if the zone groups images by class, and
// the path from the outermost folder that was dropped. The server sets it to "learned" when the model has learned the images, which
// empties the zone.
const zone = element.querySelector(".drop");
const list = element.querySelector(".drop-groups");
const note = element.querySelector(".drop-note");
const grouped = zone.dataset.grouped === "yes";
const extensions = new Set(zone.dataset.extensions.split(" "));
const most = Number(zone.dataset.most);
const megabytes = Number(zone.dataset.megabytes);
let groups = []; // {name, entries, node}
// An entry has a file and its place; after the upload, the path of the uploaded file, or failed: true.
let uploading = 0; // drops of which not all files are uploaded
let sent = 0; // files that were uploaded under a name of their own

const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const isImage = (name) => extensions.has(name.slice(name.lastIndexOf(".")).toLowerCase());
const isHidden = ({ file, place }) => file.name.startsWith(".") || place.includes("/.");
const folderOf = (place) => place.split("/").at(-2) ?? "";
const isLarge = ({ file }) => file.size > megabytes * 1024 * 1024;
const compare = (one, two) => (one < two ? -1 : one > two ? 1 : 0);

function say(text, wrong) {
  note.textContent = text;
  note.classList.toggle("wrong", Boolean(wrong));
}

function publish() {
  const uploaded = groups.flatMap((group) => group.entries.map(({ path, place }) => ({ path, group: group.name, place })));
  props.value = uploading ? "uploading" : JSON.stringify(uploaded);
}

function button(text, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

// Frees the memory of the pictures shown of entries.
function release(entries) {
  for (const entry of entries) if (entry.shown) URL.revokeObjectURL(entry.shown);
}

const labelOf = (group) => `Remove ${group.name || "these images"}`;

// The keyboard goes on at the next group, or at the last one, or where images are chosen.
function removeByHand(group) {
  const at = groups.indexOf(group);
  remove(group);
  const next = groups[at] ?? groups.at(-1);
  (next ? next.node.querySelector("button") : zone.querySelector("input[type=file]")).focus();
}

function remove(group) {
  groups = groups.filter((other) => other !== group);
  group.node.remove();
  release(group.entries);
  say("");
  publish();
}

function show(group) {
  if (!group.node) {
    group.node = document.createElement("div");
    group.node.className = "drop-group";
    list.append(group.node);
  }
  const head = document.createElement("div");
  head.className = "drop-head";
  const removing = button("Remove", labelOf(group), () => removeByHand(group));
  if (grouped) {
    const field = document.createElement("input");
    field.value = group.name;
    field.placeholder = "Class name";
    field.setAttribute("aria-label", "Name of the class");
    field.setAttribute("list", "class-names");
    field.maxLength = 200;
    field.addEventListener("change", () => {
      group.name = field.value;
      removing.setAttribute("aria-label", labelOf(group));
      publish();
    });
    head.append(field);
  }
  const number = document.createElement("span");
  number.textContent = plural(group.entries.length, "image");
  head.append(number, removing);
  group.node.replaceChildren(head);
  if (grouped) group.node.append(strip(group));
}

function strip(group) {
  const made = document.createElement("div");
  made.className = "strip";
  for (const each of group.entries.slice(0, 8)) {
    const picture = document.createElement("img");
    each.shown ??= URL.createObjectURL(each.file);
    picture.src = each.shown;
    picture.alt = "";
    picture.title = each.file.name;
    picture.addEventListener("error", () => {
      const tile = document.createElement("span");
      tile.textContent = each.file.name.slice(each.file.name.lastIndexOf(".") + 1).toUpperCase();
      tile.title = each.file.name;
      picture.replaceWith(tile);
    });
    made.append(picture);
  }
  return made;
}

async function add(found, unread = []) {
  if (zone.dataset.locked) return say("Wait until the model has learned these images, then drop more.", true);
  const { entries, wrong, notes } = accepted(found);
  wrong.push(...unread.map((name) => `${name} cannot be read: check that it can be opened, then drop it again`));
  joinGroups(entries).forEach(show);
  uploading += 1;
  zone.classList.add("busy");
  publish();
  await uploadAll(entries);
  uploading -= 1;
  zone.classList.toggle("busy", uploading > 0);
  const failed = entries.filter((entry) => entry.failed);
  wrong.push(...failed.map(({ file }) => `${file.name} could not be uploaded: drop it again`));
  withdraw(failed);
  say([...wrong, ...notes].map((each) => `${each}.`).join(" "), wrong.length);
  publish();
}

// The entries to upload, in the order of the command line: by class, then by name, or by place. Browsers list folders in any order.
function accepted(found) {
  const wrong = [];
  const notes = [];
  const images = found.filter((each) => !isHidden(each) && (!folderOf(each.place) || isImage(each.file.name)));
  const others = found.length - images.length;
  if (others) notes.push(`Left out: ${plural(others, "file")} that ${others === 1 ? "is not an image" : "are not images"}`);
  const entries = images.filter((each) => !isLarge(each));
  const large = images.find(isLarge);
  if (large) wrong.push(`${large.file.name} is larger than ${megabytes} MB: choose a smaller image`);
  const total = groups.reduce((sum, group) => sum + group.entries.length, entries.length);
  if (total > most) {
    wrong.push(`At most ${plural(most, "image")} at a time; found ${total.toLocaleString("en")}: drop fewer`);
    return { entries: [], wrong, notes };
  }
  const parts = new Set(entries.map(({ place }) => place.split("/").at(-3)));
  if (grouped && parts.has("train") && ["test", "val"].some((part) => parts.has(part))) {
    wrong.push("All images that you drop are learned, and these folders contain training and test images: drop only the folder train");
    return { entries: [], wrong, notes };
  }
  if (grouped)
    entries.sort((a, b) => compare(folderOf(a.place), folderOf(b.place)) || compare(a.file.name, b.file.name));
  else if (entries.some(({ place }) => folderOf(place))) entries.sort((a, b) => compare(a.place, b.place));
  return { entries, wrong, notes };
}

// Adds entries to the groups of their folders, and returns these groups. Entries without a folder form a new group in each drop. A
// zone that is not grouped has one group only.
function joinGroups(entries) {
  const joined = new Set();
  let loose = grouped ? undefined : groups[0];
  for (const entry of entries) {
    const name = grouped ? folderOf(entry.place) : "";
    let group = name ? groups.find((other) => other.name === name) : loose;
    if (!group) groups.push((group = { name, entries: [] }));
    if (!name) loose = group;
    group.entries.push(entry);
    joined.add(group);
  }
  return joined;
}

// Uploads with the same content and name are one file, but images of several classes, and copies in a class, are images each.
const renamed = (file) => new File([file], `${++sent}-${file.name}`, { type: file.type });

async function uploadAll(entries) {
  const waiting = [...entries];
  let done = 0;
  const next = async () => {
    for (let entry = waiting.shift(); entry; entry = waiting.shift()) {
      try {
        entry.path = (await upload(grouped ? renamed(entry.file) : entry.file)).path;
      } catch {
        entry.failed = true;
      }
      say(`Uploading: ${++done} of ${entries.length}`);
    }
  };
  await Promise.all([next(), next(), next()]);
}

function withdraw(entries) {
  for (const group of groups.filter((each) => each.entries.some((entry) => entries.includes(entry)))) {
    group.entries = group.entries.filter((entry) => !entries.includes(entry));
    release(entries);
    if (group.entries.length) show(group);
    else remove(group);
  }
}

// Adds the files of an entry to `found`, and the names of files and folders that cannot be read to `unread`.
async function inside(entry, found, unread) {
  try {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ file, place: entry.fullPath.slice(1) });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) return;
      for (const each of batch) if (!each.name.startsWith(".")) await inside(each, found, unread);
    }
  } catch {
    unread.push(entry.name);
  }
}

// A file that is dropped beside the zone would replace the page.
for (const name of ["dragover", "drop"])
  document.addEventListener(name, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
zone.addEventListener("dragover", (event) => {
  event.preventDefault();
  zone.classList.add("over");
});
zone.addEventListener("dragleave", () => zone.classList.remove("over"));
zone.addEventListener("drop", async (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [];
  const unread = [];
  for (const entry of entries) await inside(entry, found, unread);
  await add(entries.length ? found : [...event.dataTransfer.files].map((file) => ({ file, place: file.name })), unread);
});
for (const field of element.querySelectorAll("input[type=file]"))
  field.addEventListener("change", async () => {
    const found = [...field.files].map((file) => ({ file, place: file.webkitRelativePath || file.name }));
    field.value = "";
    await add(found);
  });
watch("value", () => {
  if (props.value === "learned") {
    groups.forEach((group) => release(group.entries));
    groups = [];
    list.replaceChildren();
    say("");
    props.value = "";
  } else if (!props.value && groups.length) publish(); // Gradio may reset the value just after it has shown the zone
});
zone.dataset.ready = "yes";
