import { onchainTable, primaryKey } from "ponder";

export const event = onchainTable("event", (t) => ({
  ticketContract: t.hex().primaryKey(),
  eventId: t.bigint().notNull(),
  organizer: t.hex().notNull(),
  name: t.text().notNull(),
}));

export const transfer = onchainTable("transfer", (t) => ({
  id: t.text().primaryKey(),
  ticketContract: t.hex().notNull(),
  tokenId: t.bigint().notNull(),
  from: t.hex().notNull(),
  to: t.hex().notNull(),
  block: t.bigint().notNull(),
  transaction: t.hex().notNull(),
}));

export const ticket = onchainTable(
  "ticket",
  (t) => ({
    ticketContract: t.hex().notNull(),
    tokenId: t.bigint().notNull(),
    owner: t.hex().notNull(),
    updatedBlock: t.bigint().notNull(),
  }),
  (t) => ({ pk: primaryKey({ columns: [t.ticketContract, t.tokenId] }) }),
);
