// Build the page: sources and pinned packages in, sandbox/service/page/static/ out. The same input gives the same bytes.
//
//     node build.mjs             (or `make page`)
//     node build.mjs OUT_DIR     elsewhere, to compare

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = process.argv[2] ?? join(HERE, "../sandbox/service/page/static");
const TARGET = ["chrome123", "firefox128", "safari17.5"]; // light-dark(), CompressionStream

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)]))
    .sort();
}

/** SHA-256 over all that the page is made of; tests/unit/service/test_page.py counts it the same way. */
function digestOfSources() {
  const names = ["build.mjs", "package.json", "package-lock.json", ...filesBelow(join(HERE, "src")).map((path) => relative(HERE, path))];
  const hash = createHash("sha256");
  for (const name of names.sort()) {
    const data = readFileSync(join(HERE, name));
    hash.update(`${name}\0${data.length}\0`).update(data);
  }
  return hash.digest("hex");
}

/** Write a file whose name has a digest of its content; returns the name. */
function write(stem, suffix, data) {
  const digest = createHash("sha256").update(data).digest("hex").slice(0, 8);
  const name = `${stem}-${digest}${suffix}`;
  writeFileSync(join(OUT, name), data);
  return name;
}

/** The names and licences of all packages that are in the bundle. */
function licences(inputs) {
  const packages = new Set();
  for (const path of inputs) {
    const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
    if (found) packages.add(found[1]);
  }
  const parts = [...packages].sort().map((name) => {
    const folder = join(HERE, "node_modules", name);
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((member) => /^licen[cs]e/i.test(member));
    if (!file) throw new Error(`${name} has no licence file`);
    return `${name} ${about.version} (${about.license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  return `The page contains these packages, unchanged but for bundling:\n\n${parts.join(`\n${"-".repeat(78)}\n\n`)}`;
}

const shared = {
  absWorkingDir: HERE,
  bundle: true,
  write: false,
  metafile: true,
  minify: true,
  charset: "utf8",
  legalComments: "none",
  target: TARGET,
};
const app = await esbuild.build({
  ...shared,
  entryPoints: { app: "src/main.js" },
  format: "esm",
  splitting: true,
  outdir: "out",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
});
const theme = await esbuild.build({ ...shared, entryPoints: ["src/theme.js"], format: "iife", outdir: "out" });
const style = await esbuild.build({ ...shared, entryPoints: ["src/style.css"], outdir: "out" });

rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT, { recursive: true });
let appName = "";
for (const file of app.outputFiles) {
  const name = file.path.slice(file.path.lastIndexOf("/") + 1);
  writeFileSync(join(OUT, name), file.contents);
  if (name.startsWith("app-")) appName = name;
}
const names = {
  app: appName,
  theme: write("theme", ".js", theme.outputFiles[0].contents),
  style: write("style", ".css", style.outputFiles[0].contents),
  icon: write("icon", ".svg", readFileSync(join(HERE, "src/icon.svg"))),
};
// The parts that the program always needs, named in the page: they come at once instead of one after the other.
const output = Object.entries(app.metafile.outputs).find(([path]) => path.endsWith(`/${appName}`))[1];
const parts = output.imports.filter((item) => item.kind === "import-statement").map((item) => item.path.slice(item.path.lastIndexOf("/") + 1));
const preload = parts.sort().map((name) => `<link rel="modulepreload" href="/page/${name}">`).join("\n    ");
const html = readFileSync(join(HERE, "src/index.html"), "utf8");
writeFileSync(join(OUT, "index.html"), html.replace(/\{\{(\w+)\}\}/g, (_, name) => (name === "preload" ? preload : `/page/${names[name]}`)));
writeFileSync(join(OUT, "LICENSES.txt"), licences(Object.keys(app.metafile.inputs)));
writeFileSync(join(OUT, "SOURCES.txt"), `${digestOfSources()}\n`);
