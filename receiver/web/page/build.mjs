/**
 * Bundles the page: `node build.mjs OUTPUT [DIGEST]`.
 *
 * Names of scripts and styles contain a hash of their content, so they may be cached for ever; index.html and
 * docs/index.html may not. DIGEST, a hash of the sources, is kept in index.html to tell what it was built from.
 */

import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const source = dirname(fileURLToPath(import.meta.url));
const [output, digest = "development"] = process.argv.slice(2);
if (!output) {
  console.error("usage: node build.mjs OUTPUT [DIGEST]");
  process.exit(2);
}

const OPTIONS = {
  absWorkingDir: source,
  bundle: true,
  minify: true,
  metafile: true,
  target: ["es2022"],
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  // The licences of what is bundled stay in the files.
  legalComments: "eof",
  logLevel: "warning",
};

/** Bundles entry points; returns what esbuild wrote, by path. */
async function bundle(entryPoints, folder, options) {
  const { metafile } = await build({ ...OPTIONS, entryPoints, outdir: join(output, folder), ...options });
  return Object.fromEntries(Object.entries(metafile.outputs).map(([path, made]) => [basename(path), made]));
}

/** The address of what was made of a source, for pages of the root: a proxy may have put them elsewhere. */
function address(outputs, entryPoint, folder = "") {
  const [name] = Object.entries(outputs).find(([, made]) => made.entryPoint === entryPoint);
  return `static/${folder}${name}`;
}

/** Addresses of the scripts that a source needs before it runs. */
function imported(outputs, entryPoint) {
  const needed = new Set([basename(address(outputs, entryPoint))]);
  for (const name of needed) {
    const statically = outputs[name].imports.filter(({ kind }) => kind === "import-statement");
    for (const { path } of statically) needed.add(basename(path));
  }
  return [...needed].map((name) => `static/${name}`);
}

/** Copies a file under a name with the hash of its content. */
async function copyHashed(path, folder) {
  const hash = createHash("sha256")
    .update(await readFile(path))
    .digest("hex")
    .slice(0, 8);
  const [, stem, ending] = /^(.*)(\.[^.]+)$/.exec(basename(path));
  const name = `${stem}-${hash}${ending}`;
  await copyFile(path, join(output, folder, name));
  return `static/${folder}${name}`;
}

async function page(template, name, values) {
  let text = await readFile(join(source, template), "utf8");
  for (const [key, value] of Object.entries(values)) text = text.replaceAll(`%${key}%`, value);
  await writeFile(join(output, name), text);
}

await rm(output, { recursive: true, force: true });
await mkdir(join(output, "docs"), { recursive: true });

const made = await bundle(["src/main.ts", "styles/main.css"], "", { format: "esm", splitting: true });
const ICON = await copyHashed(join(source, "icon.svg"), "");

const swagger = join(source, "node_modules/swagger-ui-dist");
const docs = await bundle(["src/docs.ts"], "docs/", { format: "iife" });
await copyFile(join(swagger, "LICENSE"), join(output, "docs/LICENSE.txt"));
await copyFile(
  join(swagger, "swagger-ui-bundle.js.LICENSE.txt"),
  join(output, "docs/swagger-ui-bundle.js.LICENSE.txt"),
);
await page("docs.html", "docs/index.html", {
  ICON,
  SCRIPT: address(docs, "src/docs.ts", "docs/"),
  SWAGGER_SCRIPT: await copyHashed(join(swagger, "swagger-ui-bundle.js"), "docs/"),
  SWAGGER_STYLE: await copyHashed(join(swagger, "swagger-ui.css"), "docs/"),
});
// The live view opens first: its scripts are fetched at once rather than one after the other.
const preloads = imported(made, "src/live/view.ts").map((path) => `<link rel="modulepreload" href="${path}">`);
// Last: whoever finds it finds everything else.
await page("index.html", "index.html", {
  ICON,
  BUILD: digest,
  SCRIPT: address(made, "src/main.ts"),
  STYLE: address(made, "styles/main.css"),
  PRELOADS: preloads.join("\n  "),
});
