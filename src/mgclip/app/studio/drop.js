// The drop zone. Images and folders are listed at once and then uploaded. The value of the component is a JSON list of
// {path, group}: the uploaded file, and the name of its class if classes are asked for.
const zone = element.querySelector(".drop");
const list = element.querySelector(".drop-groups");
const note = element.querySelector(".drop-note");
const grouped = zone.dataset.grouped === "yes";
const extensions = new Set(zone.dataset.extensions.split(" "));
const most = Number(zone.dataset.most);
const megabytes = Number(zone.dataset.megabytes);
let groups = []; // {name, files: [{file, path}], node}

const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const isImage = (name) => extensions.has(name.slice(name.lastIndexOf(".")).toLowerCase());
const total = () => groups.reduce((sum, group) => sum + group.files.length, 0);

function say(text, wrong) {
  note.textContent = text;
  note.classList.toggle("wrong", Boolean(wrong));
}

function publish() {
  props.value = JSON.stringify(
    groups.flatMap((group) => group.files.filter((each) => each.path).map((each) => ({ path: each.path, group: group.name })))
  );
}

function button(text, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

function remove(group) {
  groups = groups.filter((other) => other !== group);
  group.node.remove();
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
  if (grouped) {
    const field = document.createElement("input");
    field.value = group.name;
    field.placeholder = "Class name";
    field.setAttribute("aria-label", "Name of the class");
    field.setAttribute("list", "class-names");
    field.maxLength = 200;
    field.addEventListener("change", () => {
      group.name = field.value;
      publish();
    });
    head.append(field);
  }
  const number = document.createElement("span");
  number.textContent = plural(group.files.length, "image");
  head.append(number, button("Remove", `Remove ${group.name || "these images"}`, () => remove(group)));
  group.node.replaceChildren(head);
  if (grouped) group.node.append(strip(group));
}

function strip(group) {
  const made = document.createElement("div");
  made.className = "strip";
  for (const each of group.files.slice(0, 8)) {
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

async function add(found) {
  // found: [{file, folder}]; loose images form a group without a name, or join the one list if classes are not asked for
  const wrong = [];
  let taken = found.filter(({ file, folder }) => !file.name.startsWith(".") && (!folder || isImage(file.name)));
  const notes = [];
  if (taken.length < found.length) notes.push(`Left out: ${plural(found.length - taken.length, "file")} that ${found.length - taken.length === 1 ? "is not an image" : "are not images"}`);
  const large = taken.filter(({ file }) => file.size > megabytes * 1024 * 1024);
  if (large.length) wrong.push(`${large[0].file.name} is larger than ${megabytes} MB: choose a smaller image`);
  taken = taken.filter((each) => !large.includes(each));
  if (total() + taken.length > most) {
    wrong.push(`At most ${plural(most, "image")} at a time; found ${(total() + taken.length).toLocaleString("en")}`);
    taken = [];
  }
  // As the command line does: classes and their images by name. Browsers list folders in any order.
  const by = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  if (grouped) taken.sort((one, two) => by(one.folder, two.folder) || by(one.file.name, two.file.name));
  const fresh = [];
  const loose = grouped ? null : groups[0];
  for (const { file, folder } of taken) {
    const name = grouped ? folder : "";
    let group = fresh.find((each) => each.name === name) ?? (name ? groups.find((each) => each.name === name) : loose);
    if (!group) groups.push((group = { name, files: [] }));
    if (!fresh.includes(group)) fresh.push(group);
    group.files.push({ file });
  }
  fresh.forEach(show);
  await uploadAll(fresh.flatMap((group) => group.files).filter((each) => !each.path), wrong, notes);
}

async function uploadAll(waiting, wrong, notes) {
  let done = 0;
  const next = async () => {
    for (let each = waiting.shift(); each; each = waiting.shift()) {
      try {
        each.path = (await upload(each.file)).path;
      } catch (error) {
        wrong.push(`${each.file.name} could not be uploaded: drop it again`);
      }
      say(`Uploading: ${++done} of ${done + waiting.length}`);
    }
  };
  zone.classList.add("busy");
  props.value = "uploading";
  await Promise.all([next(), next(), next()]);
  zone.classList.remove("busy");
  groups.forEach((group) => (group.files = group.files.filter((each) => each.path)));
  groups.filter((group) => !group.files.length).forEach((group) => group.node.remove());
  groups = groups.filter((group) => group.files.length);
  groups.forEach(show);
  say([...wrong, ...notes].map((each) => `${each}.`).join(" "), wrong.length);
  publish();
}

function parent(path) {
  const parts = path.split("/").filter(Boolean);
  return parts.length > 1 ? parts[parts.length - 2] : "";
}

async function inside(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, folder: parent(entry.fullPath) });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return;
    for (const each of batch) if (!each.name.startsWith(".")) await inside(each, found);
  }
}

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
  for (const entry of entries) await inside(entry, found);
  await add(entries.length ? found : [...event.dataTransfer.files].map((file) => ({ file, folder: "" })));
});
for (const field of element.querySelectorAll("input[type=file]"))
  field.addEventListener("change", async () => {
    const found = [...field.files].map((file) => ({ file, folder: parent(file.webkitRelativePath || "") }));
    field.value = "";
    await add(found);
  });
watch("value", () => {
  if (props.value || !groups.length) return;
  groups = [];
  list.replaceChildren();
  say("");
});
