// Prints the CID of each file named in argv, as the reference importer of IPFS computes it for CIDv1.
import { readFile } from 'node:fs/promises'
import { MemoryBlockstore } from 'blockstore-core/memory'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { importer } from 'ipfs-unixfs-importer'

const options = {
  cidVersion: 1,
  rawLeaves: true,
  reduceSingleLeafToSelf: true,
  chunker: fixedSize({ chunkSize: 262144 }),
  layout: balanced({ maxChildrenPerNode: 174 })
}
for (const path of process.argv.slice(2)) {
  const content = await readFile(path)
  for await (const entry of importer([{ content }], new MemoryBlockstore(), options)) {
    console.log(entry.cid.toString())
  }
}
