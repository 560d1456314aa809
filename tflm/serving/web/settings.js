// The dialog with the settings of a model: what is left empty is as the model has it.

import { text } from "./i18n.js";

const FIELDS = {
  temperature: { low: 0, high: 2, step: 0.05, slides: true },
  top_p: { low: 0, high: 1, step: 0.01, slides: true },
  top_k: { low: 0, high: 10000, step: 1 },
  repetition_penalty: { low: 0.5, high: 2, step: 0.05, slides: true },
  max_new_tokens: { low: 1, high: 100000, step: 1 },
  seed: { low: 0, high: Number.MAX_SAFE_INTEGER, step: 1 },
};
const dialog = document.getElementById("settings");
const fields = document.getElementById("fields");

/**
 * Fills the dialog.
 *
 * @param version whose settings and defaults they are, from `listModels`; nothing where there is none.
 * @param settings what the user has set.
 * @param onChange is called with all that is set, after each change.
 */
export function fillSettings(version, settings, onChange) {
  const chosen = { ...settings };
  const change = (name, value) => {
    if (value === "" || value === null) delete chosen[name];
    else chosen[name] = value;
    onChange({ ...chosen });
  };
  const made = [];
  if (version?.mode === "chat") made.push(systemField(version.system, chosen.system, change));
  for (const [name, field] of Object.entries(FIELDS)) {
    if (version && name in version.settings) {
      made.push(numberField(name, field, version.settings[name], chosen[name], change));
    }
  }
  fields.replaceChildren(...made);
}

/** Shows the dialog; Escape and a click beside it close it. */
export function openSettings() {
  dialog.showModal();
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

function systemField(byDefault, value, change) {
  const box = document.createElement("textarea");
  box.rows = 2;
  box.value = value ?? "";
  box.placeholder = byDefault;
  box.addEventListener("input", () => change("system", box.value.trim() ? box.value : ""));
  return labelled("system", box, box, true);
}

function numberField(name, { low, high, step, slides }, byDefault, value, change) {
  const box = makeInput("number", { min: low, max: high, step: step === 1 ? 1 : "any", inputMode: "decimal" });
  box.value = value ?? "";
  box.placeholder = name === "seed" ? text("random") : byDefault ?? "";
  const row = document.createElement("div");
  row.className = "row";
  if (slides) {
    const slider = makeInput("range", { min: low, max: high, step });
    slider.value = value ?? byDefault ?? low;
    slider.setAttribute("aria-labelledby", `label-${name}`);
    slider.addEventListener("input", () => {
      box.value = slider.value;
      accept(box, low, high, () => change(name, Number(slider.value)));
    });
    box.addEventListener("input", () => (slider.value = box.value || byDefault || low));
    row.append(slider);
  }
  box.addEventListener("input", () =>
    accept(box, low, high, () => change(name, box.value === "" ? null : Number(box.value))));
  row.append(box);
  return labelled(name, row, box, Boolean(slides) || name === "seed");
}

/** What is out of range is marked and changes nothing. */
function accept(box, low, high, change) {
  box.setCustomValidity("");
  const isValid = box.validity.valid;
  box.setAttribute("aria-invalid", String(!isValid));
  if (isValid) change();
  else box.setCustomValidity(text("wrongNumber", { low, high }));
}

function makeInput(type, attributes) {
  return Object.assign(document.createElement("input"), { type, ...attributes });
}

/** A field with its name above and what it does below; two narrow ones stand side by side. */
function labelled(name, content, control, isWide) {
  const field = document.createElement("div");
  field.className = isWide ? "field wide" : "field";
  const label = document.createElement("label");
  control.id = `setting-${name}`;
  Object.assign(label, { id: `label-${name}`, htmlFor: control.id, textContent: text(`setting_${name}`) });
  const about = document.createElement("p");
  Object.assign(about, { id: `about-${name}`, className: "about", textContent: text(`about_${name}`) });
  control.setAttribute("aria-describedby", about.id);
  field.append(label, content, about);
  return field;
}
