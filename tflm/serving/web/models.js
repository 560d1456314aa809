// The models of the server, and the two lists in which one and its version are chosen.

import { text } from "./i18n.js";
import { listModels } from "./server.js";

const modelPicker = document.getElementById("model");
const versionPicker = document.getElementById("version");
let models = [];
let versionPath = ""; // behind a model's URL: "", which is its highest version, "/versions/2" or "/labels/stable"

/** Asks the server; whether anything is new. */
export async function lookForModels() {
  const found = await listModels();
  const isNew = JSON.stringify(found) !== JSON.stringify(models);
  models = found;
  return isNew;
}

/** Whether one of the models can be talked with. */
export function hasModels() {
  return models.some((model) => model.versions.some(isUsable));
}

/** The name of a model that can be talked with in a mode, or in any where it is null: `wanted` if it can, else another,
 * else "". */
export function fittingModel(wanted, mode) {
  const fits = (model) => model.versions.some((each) => isUsable(each) && (mode === null || each.mode === mode));
  const fitting = models.filter(fits).map((model) => model.name);
  return fitting.includes(wanted) ? wanted : fitting[0] ?? "";
}

/** The version of a model that answers: the one chosen, or the highest that is there; undefined where none is. */
export function versionOf(name) {
  const found = versionsOf(name).filter((each) => each.state === "AVAILABLE");
  const [, kind, which] = versionPath.split("/");
  if (kind === "versions") return found.find((each) => String(each.version) === which);
  if (kind === "labels") return found.find((each) => each.labels.includes(decodeURIComponent(which)));
  return found[0];
}

/** Where the chosen version of a model answers. */
export function urlOf(name) {
  return `/v1/models/${encodeURIComponent(name)}${versionPath}`;
}

/** Chooses a version: "", "/versions/N" or "/labels/L". */
export function chooseVersion(path) {
  versionPath = path;
}

/** Shows the two lists. */
export function showPickers(name) {
  const isMissing = (model) => !model.versions.some(isUsable);
  modelPicker.replaceChildren(...models.map((model) => makeOption(model.name, model.name, isMissing(model))));
  modelPicker.value = name;
  const choices = versionChoices(versionsOf(name));
  versionPicker.replaceChildren(...choices);
  if (!choices.some((each) => each.value === versionPath && !each.disabled)) versionPath = "";
  versionPicker.value = versionPath;
  modelPicker.hidden = !models.length;
  versionPicker.hidden = versionsOf(name).length < 2;
}

function versionChoices(versions) {
  const latest = versions.find((each) => each.state === "AVAILABLE");
  const choices = latest ? [makeOption("", text("latest", latest))] : [];
  for (const each of versions) {
    const words = text("versionNumber", each);
    const state = each.state === "AVAILABLE" ? "" : ` · ${each.state}`;
    choices.push(makeOption(`/versions/${each.version}`, words + state, !isUsable(each)));
    for (const one of each.labels) {
      choices.push(makeOption(`/labels/${encodeURIComponent(one)}`, `${one} (${each.version})`, !isUsable(each)));
    }
  }
  return choices;
}

function versionsOf(name) {
  return models.find((model) => model.name === name)?.versions ?? [];
}

function isUsable(version) {
  return version.state === "AVAILABLE" && version.mode !== null && version.streams;
}

function makeOption(value, words, disabled) {
  return Object.assign(document.createElement("option"), { value, textContent: words, disabled });
}
