// Everything comes from the JSON blocks of this page; text is set as text, never as HTML.

const byId = (id) => document.getElementById(id);
const read = (id) => (byId(id) ? JSON.parse(byId(id).textContent) : null);

function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "circle", "g", "rect"].includes(name);
  const node = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const unique = (values) => [...new Set(values)];

function fill(select, names) {
  select.replaceChildren(...names.map((name, i) => make("option", { value: i }, name)));
}

// Small pictures show their pixels: what the network made is what one sees.
function show(image, source) {
  image.onload = () => image.classList.toggle("pixels", image.naturalWidth <= 160);
  if (source) image.src = source;
  else image.removeAttribute("src");
}

// ---- tables: a click on a head sorts, a second one turns the order round

function sortTable(head) {
  const body = head.closest("table").tBodies[0];
  const column = head.cellIndex;
  const upwards = head.getAttribute("aria-sort") !== "ascending";
  const keyed = [...body.rows].map((row) => {
    const text = row.cells[column].dataset.value;
    return { row, text, number: text === undefined || text === "" ? NaN : Number(text) };
  });
  const numeric = keyed.every((each) => each.text === undefined || !Number.isNaN(each.number));
  keyed.sort((a, b) => {
    if (a.text === undefined || b.text === undefined) {
      return (a.text === undefined) - (b.text === undefined); // what is missing stands last
    }
    const order = numeric ? a.number - b.number : a.text.localeCompare(b.text);
    return upwards ? order : -order;
  });
  for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
  body.append(...keyed.map((each) => each.row));
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sortTable(button.parentNode));
}

// ---- faces: two pictures of one face, one on either side of a divider

function startFaces(data) {
  const chosen = { face: 0, left: 0, right: Math.min(1, data.columns.length - 1) };
  const whole = data.columns.findIndex((name) => ["full", "distinct"].includes(name));
  if (whole > 0) chosen.right = whole; // the method as published, else the first variant
  const frame = document.querySelector(".compare");
  const [under, over] = [frame.querySelector(".right"), frame.querySelector(".left")];
  const range = byId("divider");
  const buttons = data.faces.map((face, i) => {
    const image = make("img", { alt: "" });
    show(image, face.pictures.find(Boolean));
    const button = make("button", { type: "button", "aria-label": `Face ${face.key}`, title: face.key }, image);
    button.addEventListener("click", () => choose({ face: i }));
    return button;
  });
  document.querySelector(".faces").append(...buttons);
  const thumbs = data.columns.map((name, i) => {
    const image = make("img", { alt: "" });
    const button = make("button", { type: "button", title: name }, image, make("span", {}, name));
    button.addEventListener("click", () => choose({ right: i }));
    return { image, button };
  });
  document.querySelector(".strip").append(...thumbs.map((each) => each.button));
  for (const side of ["left", "right"]) {
    fill(byId(side), data.columns);
    byId(side).addEventListener("change", () => choose({ [side]: Number(byId(side).value) }));
  }

  function move() {
    over.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    frame.querySelector(".divider").style.left = `${range.value}%`;
  }

  function choose(change) {
    Object.assign(chosen, change);
    const { key, pictures } = data.faces[chosen.face];
    const names = { left: data.columns[chosen.left], right: data.columns[chosen.right] };
    show(under, pictures[chosen.right]);
    show(over, pictures[chosen.left]);
    under.alt = `${names.right}, face ${key}`;
    over.alt = `${names.left}, face ${key}`;
    for (const side of ["left", "right"]) {
      byId(side).value = chosen[side];
      frame.querySelector(`.caption[data-side="${side}"]`).textContent =
        names[side] + (pictures[chosen[side]] ? "" : ": no picture");
    }
    range.setAttribute("aria-label", `Divider between ${names.left} and ${names.right}, face ${key}`);
    buttons.forEach((each, i) => each.setAttribute("aria-pressed", i === chosen.face));
    thumbs.forEach(({ image, button }, i) => {
      show(image, pictures[i]);
      button.setAttribute("aria-pressed", i === chosen.right);
    });
  }

  range.addEventListener("input", move);
  move();
  choose({});
}

// ---- pictures drawn while training

function startGallery(series) {
  const [part, name, step] = ["gallery-part", "gallery-name", "gallery-step"].map(byId);
  const output = step.parentNode.querySelector("output");
  const parts = unique(series.map((each) => each.part));
  fill(part, parts);

  const own = () => series.filter((each) => each.part === parts[part.value]);

  function update() {
    const pictures = own()[name.value].pictures;
    const { step: number, src } = pictures[step.value];
    show(byId("gallery-picture"), src);
    byId("gallery-picture").alt = `${own()[name.value].name} of ${parts[part.value]}, step ${number}`;
    output.textContent = number || "all";
  }

  function choosePicture() {
    const pictures = own()[name.value].pictures;
    step.max = pictures.length - 1;
    step.value = pictures.length - 1;
    step.disabled = pictures.length < 2;
    update();
  }

  function choosePart() {
    const before = name.selectedIndex >= 0 ? name.options[name.selectedIndex].text : "";
    fill(name, own().map((each) => each.name));
    name.value = Math.max(0, own().findIndex((each) => each.name === before));
    choosePicture();
  }

  part.addEventListener("change", choosePart);
  name.addEventListener("change", choosePicture);
  step.addEventListener("input", update);
  choosePart();
}

for (const [id, start] of [["face-data", startFaces], ["curve-data", startCurves], ["gallery-data", startGallery]]) {
  const data = read(id);
  if (data) start(data);
}
