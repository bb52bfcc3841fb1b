// One origin for the browser: OHIF's build at /, dwv.html with its packages at /npm, Orthanc's DICOMweb at /dicom-web
// and /wado.  No dependencies.
// usage: node serve.js ORTHANC_PORT OHIF_DIST NODE_MODULES     prints the port it listens on (loopback, chosen by the system)
'use strict';
const fs = require('fs');
const http = require('http');
const path = require('path');

const [orthancPort, dist, packages] = process.argv.slice(2);
const config = fs.readFileSync(path.join(__dirname, 'app-config.js'));
const TYPES = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css',
  '.json': 'application/json', '.svg': 'image/svg+xml', '.png': 'image/png', '.wasm': 'application/wasm',
  '.woff2': 'font/woff2', '.ico': 'image/x-icon',
};
// WebAssembly threads and SharedArrayBuffer need a cross-origin isolated page
const ISOLATED = {
  'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

function toOrthanc(request, response) {
  // Orthanc's DICOMweb plugin 1.7 does not decode %2C in includefield: the study description would be missing
  const target = { host: '127.0.0.1', port: orthancPort, path: request.url.replace(/%2C/gi, ','), method: request.method, headers: request.headers };
  const forward = http.request(target, (answer) => {
    response.writeHead(answer.statusCode, { ...answer.headers, ...ISOLATED });
    answer.pipe(response);
  });
  forward.on('error', (error) => { response.writeHead(502); response.end(String(error)); });
  request.pipe(forward);
}

function file(pathname, response) {
  if (pathname === '/app-config.js') {
    response.writeHead(200, { ...ISOLATED, 'content-type': TYPES['.js'] });
    return response.end(config);
  }
  if (pathname === '/dwv.html') return send(path.join(__dirname, 'dwv.html'), response);
  const [root, inner] = pathname.startsWith('/npm/') ? [packages, pathname.slice(4)] : [dist, pathname];
  let found = path.normalize(path.join(root, decodeURIComponent(inner)));
  const inside = found.startsWith(path.normalize(root));
  if (!inside || !fs.existsSync(found) || fs.statSync(found).isDirectory()) found = path.join(dist, 'index.html'); // single-page app
  return send(found, response);
}

function send(found, response) {
  response.writeHead(200, { ...ISOLATED, 'content-type': TYPES[path.extname(found)] || 'application/octet-stream' });
  fs.createReadStream(found).pipe(response);
}

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://x');
  return /^\/(dicom-web|wado)/.test(pathname) ? toOrthanc(request, response) : file(pathname, response);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
