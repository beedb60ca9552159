import { ponder } from "ponder:registry";
import { event as events, ticket, transfer } from "ponder:schema";

// The least that an indexer of tickets keeps: what happened, and who holds what.
ponder.on("Factory:EventCreated", async ({ event, context }: any) => {
  const { ticketContract, eventId, organizer, name } = event.args;
  await context.db.insert(events).values({ ticketContract, eventId, organizer, name });
});

ponder.on("Tickets:Transfer", async ({ event, context }: any) => {
  const { from, to, tokenId } = event.args;
  const ticketContract = event.log.address;
  const block = event.block.number;
  const transaction = event.transaction.hash;
  await context.db.insert(transfer).values({ id: event.id, ticketContract, tokenId, from, to, block, transaction });
  await context.db
    .insert(ticket)
    .values({ ticketContract, tokenId, owner: to, updatedBlock: block })
    .onConflictDoUpdate({ owner: to, updatedBlock: block });
});
