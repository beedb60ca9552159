// Where the browser of the package stands, unpacked into TMPDIR.
import chromium from "@sparticuz/chromium";

process.stdout.write(await chromium.executablePath());
